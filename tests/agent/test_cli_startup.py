"""The agent's command line starts light: on a small board each import of a large library is felt."""

import os
import subprocess
import sys

HEAVY = ("anyio", "cryptography", "numpy", "onnxruntime", "paho", "pydantic", "rich", "starlette", "typer", "uvicorn")


def test_help_imports_click_and_the_standard_library_alone() -> None:
    script = (
        "import atexit, sys; from shoal_agent.cli import main\n"
        f"atexit.register(lambda: print('found', sorted(set(sys.modules) & set({HEAVY!r}))))\n"
        "sys.argv = ['shoal-agent', 'run', '--help']; main()"
    )
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "--port" in ran.stdout
    assert ran.stdout.endswith("found []\n")
