"""A process that trains for this one: what it tells comes by lines, and what it has started ends with the context."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer
from typing import Final

from shoal_training.errors import LaunchError

_STOP_S: Final = 15.0
_TOLD: Final = 2_000
"""Characters of the log that an error shows."""


@dataclass(frozen=True)
class Child:
    """A process under way."""

    process: "subprocess.Popen[str]"
    log: Path
    """What it writes on standard error."""
    timeout_s: float | None
    is_late: Event

    def lines(self) -> Iterator[str]:
        """Yield what it writes on standard output, to its end."""
        yield from self.process.stdout or ()
        self.process.wait()

    def raise_if_failed(self, doing: str, program: str, retries: int) -> None:
        """Raise what has become of it, unless it ended well.

        Args:
            doing: What was being done.
            program: What has run.
            retries: How often it may have started again what it trains with.

        Raises:
            LaunchError: It took longer than it may, or ended with another code than 0.
        """
        if self.is_late.is_set():
            raise LaunchError(
                f"{doing}: it was not finished after {self.timeout_s} s and is ended; run the pipeline again to go on "
                "from the last checkpoint, with a longer `timeout_s`"
            )
        if self.process.returncode:
            said = self.log.read_text(errors="replace")[-_TOLD:].strip()
            raise LaunchError(
                f"{doing}: {program} ended with code {self.process.returncode} after {retries} restarts at most; "
                f"{self.log} ends with: {said}"
            )


@contextmanager
def running(
    command: list[str], log: Path, environment: Mapping[str, str], timeout_s: float | None = None
) -> Iterator[Child]:
    """Run a command that imports what this process does; it ends with the context, also where that is left by an error.

    Its standard input stays open for as long as this process lives, so that it can tell when that is gone.

    Args:
        command: The command.
        log: Where its standard error goes.
        environment: Beside this process's own.
        timeout_s: After which it is ended.
    """
    paths = os.pathsep.join(one for one in sys.path if one)
    whole = {**os.environ, "PYTHONPATH": paths, **environment}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=whole,
            start_new_session=True,
        )
    is_late = Event()

    def late() -> None:
        is_late.set()
        _end(process)

    timer = Timer(timeout_s or 0.0, late)
    timer.daemon = True
    if timeout_s is not None:
        timer.start()
    try:
        yield Child(process, log, timeout_s, is_late)
    finally:
        timer.cancel()
        _end(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.terminate()  # it ends its own workers
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
