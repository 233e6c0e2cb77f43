"""`shoal hub up` as a process of its own, on free ports, for tests that kill it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shoal_hub.addresses import Addresses
from shoal_hub.broker.process import running_pid
from shoal_hub.processes.ready import mark_of
from shoal_hub.settings import Settings
from shoal_hub.supervise.prepare import broker_config

WAIT_S = 60.0
_UP = """
import os
from shoal_hub.settings import Settings
from shoal_hub.supervisor import hub_up
hub_up(Settings.read(os.environ), lambda line: print(line, flush=True))
"""


class Service:
    """A hub on `folder`, and what its supervisor says."""

    def __init__(self, folder: Path, **settings: object) -> None:
        usual: dict[str, object] = {
            "data_dir": folder / "data",
            "api_host": "127.0.0.1",
            "api_port": 0,
            "broker_host": "127.0.0.1",
            "broker_port": 0,
            "tick_s": 0.3,
        }
        self.settings = Settings.model_validate(usual | settings)
        self.profile = folder / "profile.json"
        self._output = folder / "hub.out"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the supervisor."""
        path = os.pathsep.join(one for one in sys.path if one)
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _UP],
                env=os.environ
                | self.settings.to_environment()
                | {"SHOAL_PROFILE": str(self.profile), "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def addresses(self) -> Addresses:
        return Addresses.read(self.settings)

    @property
    def broker_pid(self) -> int | None:
        return running_pid(broker_config(self.settings, self.addresses))

    def pid_of(self, name: str) -> int | None:
        """Return the process id of a process that serves, None while none does."""
        try:
            pid = int(mark_of(self.settings, name).read_text())
            os.kill(pid, 0)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        return pid

    def wait_ready(self) -> None:
        """Wait until everything serves."""
        ready = self.settings.data / "run" / "ready"
        assert self.process is not None
        self.wait(lambda: ready.exists() and ready.read_text() == str(self.process and self.process.pid))

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, as long as the supervisor runs."""
        deadline = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < deadline, f"it does not come to hold: {self.output}"
            time.sleep(0.05)

    def kill(self, name: str) -> int:
        """Kill one of the processes, and return which it was."""
        pid = self.pid_of(name)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the supervisor and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def clean_up(self) -> None:
        """End everything that may still run."""
        if self.process is not None and self.process.poll() is None:
            self.end()
        if (self.settings.data / "hub.json").exists() and (pid := self.broker_pid) is not None:
            os.kill(pid, signal.SIGTERM)
