"""A child of the agent ends with it, also where the agent has ended before the child could ask the kernel for that."""

import os
import subprocess
import sys


def test_a_child_whose_parent_has_ended_already_ends_too() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    script = f"from shoal_agent.child_process import end_with; end_with({ended.pid}); print('goes on')"
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "it has ended" in done.stderr


def test_a_child_of_the_agent_goes_on() -> None:
    script = f"from shoal_agent.child_process import end_with; end_with({os.getpid()}); print('goes on')"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "goes on\n"
