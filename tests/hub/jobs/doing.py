"""The process of a job that does what a test wants of it: `python -m tests.hub.jobs.doing JOB`."""

import os
import signal
import subprocess
import sys
import time

from pydantic import BaseModel

from shoal_hub.jobs import child, kinds
from shoal_hub.jobs.work import JobWork

KIND = "doing"
PROGRAM = "tests.hub.jobs.doing"


class Done(BaseModel):
    """What came of it."""

    attempt: int


def run(work: JobWork) -> Done:
    """Do what the parameter `what` says, the first time; the second time it goes well where that is asked for."""
    noted = work.folder / "attempts"
    attempt = int(noted.read_text()) + 1 if noted.exists() else 1
    noted.write_text(str(attempt))
    match work.params["what"]:
        case "say":
            for number in range(work.params["lines"]):
                _say(f"line {number}")
        case "allocate":
            _allocate(work.params["size_bytes"])
        case "be killed once" if attempt == 1:
            os.kill(os.getpid(), 9)
        case "spin":
            while True:
                pass
        case "wait":
            _wait(work)
        case "hold back" if attempt == 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as native code does that does not return to Python
            _say("holding")
            time.sleep(600)
        case "say threads":
            _say(os.environ["OMP_NUM_THREADS"])
    return Done(attempt=attempt)


def _allocate(size_bytes: int) -> None:
    try:
        bytearray(size_bytes)
    except MemoryError as error:
        raise RuntimeError("a library says it in words of its own") from error


def _wait(work: JobWork) -> None:
    """Wait for long, with a process that has left the group, as torchrun's."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (work.folder / "sleeper").write_text(str(child.pid))
    _say("waiting")
    try:
        time.sleep(600)
    finally:
        (work.folder / "cleaned").touch()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    kinds.KINDS[KIND] = PROGRAM
    sys.argv[0] = PROGRAM
    child.main()
