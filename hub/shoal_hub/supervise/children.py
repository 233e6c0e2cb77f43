"""The hub's three processes: started, watched, started again after a death with a growing delay."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from shoal_hub.counts_folder import counts_environment
from shoal_hub.errors import HubError
from shoal_hub.processes.ready import is_ready, mark_of
from shoal_hub.processes.signals import LIFELINE
from shoal_hub.settings import Settings

STOP_TIMEOUT_S: Final = 15.0
_FIRST_DELAY_S: Final = 0.2
_LONGEST_DELAY_S: Final = 30.0
_STABLE_S: Final = 30.0
"""A process that lived this long starts with the first delay again."""
_LOG_TAIL_BYTES: Final = 1500


class ChildError(HubError):
    """A process of the hub does not start."""

    code = "child"


class Child:
    """One process of the hub.

    Args:
        name: `api`, `ingest` or `controller`.
        settings: Passed on by environment variables.
        lifeline: Reading end of a pipe; the process ends when the other end closes.
    """

    def __init__(self, name: str, settings: Settings, lifeline: int) -> None:
        self.name = name
        self.deaths = 0
        self._settings = settings
        self._lifeline = lifeline
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._next_start_s = 0.0
        self._delay_s = _FIRST_DELAY_S

    @property
    def is_ready(self) -> bool:
        """Whether the process that runs now has said that it serves."""
        return self._process is not None and is_ready(self._settings, self.name, self._process.pid)

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has not been found to have ended since."""
        return self._process is not None

    @property
    def log_path(self) -> Path:
        """Where the process logs."""
        return self._settings.data / "run" / f"{self.name}.log"

    def tend(self) -> int | None:
        """Start the process if it should run and does not; return its exit status if it has just died."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next_start_s:
                self._start(now)
            return None
        status = self._process.poll()
        if status is None:
            return None
        self._delay_s = (
            _FIRST_DELAY_S if now - self._started_s > _STABLE_S else min(2 * self._delay_s, _LONGEST_DELAY_S)
        )
        self._next_start_s = now + self._delay_s
        self._process = None
        self.deaths += 1
        return status

    def start_error(self, status: int) -> ChildError:
        """Return the error that tells why the process does not start: the end of its log."""
        tail = self.log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
        return ChildError(
            f"starting the hub's process {self.name}: it ended with status {status}; its log ends:\n{tail}",
            f"the whole log is {self.log_path}",
        )

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, deadline_s: float) -> None:
        """Wait for the end of the process until `deadline_s` (monotonic), then kill it."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline_s - time.monotonic()))
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _start(self, now: float) -> None:
        mark_of(self._settings, self.name).unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C goes to the supervisor, which ends its children in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shoal_hub.processes", self.name],
                env=os.environ
                | self._settings.to_environment()
                | counts_environment(self._settings.data, self.name)
                | {LIFELINE: str(self._lifeline)},
                pass_fds=[self._lifeline],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started_s = now
