"""Kills parts of a hub at any moment, its start and its end included, and starts again what nobody else does."""

import os
import signal
import time
from pathlib import Path

from tests.simulators.hub_process import HubProcess

from shoal_hub.processes.ready import is_ready
from shoal_hub.settings import Settings

_START_S = 180.0
_PARTS = ("ingest", "controller", "api")


class HubParts:
    """The processes of a hub on `hub.data`."""

    def __init__(self, hub: HubProcess) -> None:
        self.hub = hub

    def kill(self, part: str) -> bool:
        """Kill a part; return whether it ran."""
        if part == "supervisor":
            return self._kill_supervisor()
        try:
            os.kill(self._broker_pid() if part == "broker" else self.hub.pid_of(part), signal.SIGKILL)
        except (AssertionError, OSError, ValueError):  # it is down: killed a moment ago, or not yet started again
            return False
        return True

    def begin_again(self) -> None:
        """Start the supervisor if it does not run: killed, or given up on a part that was killed in its start."""
        if self.hub.process is None or self.hub.process.poll() is not None:
            self.hub.begin()

    def wait_until_it_serves(self) -> None:
        """Wait until every part serves."""
        deadline_s = time.monotonic() + _START_S
        while not self._is_serving():
            assert time.monotonic() < deadline_s, f"the hub does not come back: {self.hub.log()[-3000:]}"
            self.begin_again()
            time.sleep(0.1)

    def _is_serving(self) -> bool:
        settings = Settings(data_dir=self.hub.data)
        try:
            pids = {part: self.hub.pid_of(part) for part in _PARTS}
            os.kill(self._broker_pid(), 0)
        except (AssertionError, OSError, ValueError):
            return False
        return all(is_ready(settings, part, pid) for part, pid in pids.items())

    def _kill_supervisor(self) -> bool:
        if self.hub.process is None or self.hub.process.poll() is not None:
            return False
        self.hub.kill("all")
        return True

    def _broker_pid(self) -> int:
        """Of Mosquitto, which may be the child of a supervisor that is gone."""
        pid = int((self.hub.data / "broker" / "mosquitto.pid").read_text())
        if str(self.hub.data).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
            raise ProcessLookupError(pid)
        return pid
