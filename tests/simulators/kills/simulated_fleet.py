"""Simulated devices in processes that can be killed: their disks lie in folders and outlive them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.simulators.kills.evidence import DiskFacts
from tests.simulators.kills.plan import Kill

from shoal_agent.identity import load_identity
from shoal_agent.simulated.world import disk_of, folder_of

_WAIT_S = 180.0
_OPTIONS = ("--keep-disks", "--retry-max-s=1", "--power-off-s=0.3", "--tell-s=0.2")


class SimulatedFleet:
    """Some simulated devices, evenly spread over processes.

    Args:
        hub_url: The hub's address.
        token: Enrols the devices.
        data: The folder of identities and disks.
        devices: How many.
        processes: How many.
    """

    PARTS = ("device", "device", "simulator")
    """What can be killed; a power cut twice as often as a whole process."""

    def __init__(self, hub_url: str, token: str, data: Path, devices: int, processes: int) -> None:
        self._data = data
        self._share = devices // processes
        self._count = self._share * processes
        environment = {**os.environ, "SHOAL_TOKEN": token, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "shoal_agent.simulated", "--hub", hub_url, "--data", str(data), *_OPTIONS]
        self._processes = [
            _Process([*command, f"--first={first}", f"--devices={self._share}"], environment, data / f"sim-{first}.log")
            for first in range(0, self._count, self._share)
        ]
        for one in self._processes:
            one.start()
        self.wait_until_whole()
        self.ids = [load_identity(folder_of(data, index)).device_id for index in range(self._count)]

    def kill(self, kill: Kill) -> bool:
        """Cut a device's power, or kill the process that it is in; return whether that ran."""
        process = self._processes[kill.device // self._share]
        if kill.part == "device":
            return process.send({"do": "power_cut", "device": kill.device, "write": kill.write})
        return process.kill()

    def begin_again(self) -> None:
        """Start the processes that do not run."""
        for one in self._processes:
            if not one.is_running:
                one.start()

    def wait_until_whole(self) -> None:
        """Wait until every device has power and a line."""
        deadline_s = time.monotonic() + _WAIT_S
        while sum(one.state.get("states", {}).get("online", 0) for one in self._processes) != self._count:
            assert time.monotonic() < deadline_s, f"devices stay away: {[one.state for one in self._processes]}"
            self.begin_again()
            time.sleep(0.1)

    def disks(self) -> dict[str, DiskFacts]:
        """Read the disks, by device."""
        folders = {device: disk_of(self._data, index) for index, device in enumerate(self.ids)}
        return {device: DiskFacts.read(disk / "models", disk / "roles.jsonl") for device, disk in folders.items()}

    def serving(self) -> Counter[str]:
        """Ask the processes what the devices serve."""
        found: Counter[str] = Counter()
        for one in self._processes:
            one.hear_anew()
            found.update(one.state["active"])
        return found

    def power_cuts(self) -> int:
        """How many there have been, as far as the processes could still tell."""
        return sum(one.power_cuts for one in self._processes)

    def close(self) -> None:
        """Leave nothing running."""
        for one in self._processes:
            one.kill()


class _Process:
    """One process of simulated devices, and what it has said last."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._command, self._environment, self._log = command, environment, log
        self._process: subprocess.Popen[bytes] | None = None
        self._news = threading.Condition()
        self.state: dict[str, Any] = {}
        self._past_power_cuts = 0

    @property
    def power_cuts(self) -> int:
        now: int = self.state.get("faults", {}).get("power_cut", 0)
        return self._past_power_cuts + now

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._past_power_cuts, self.state = self.power_cuts, {}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=self._environment
            )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def send(self, command: dict[str, str | int]) -> bool:
        if not self.is_running or self._process is None or self._process.stdin is None:
            return False
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def kill(self) -> bool:
        if not self.is_running or self._process is None:
            return False
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._past_power_cuts, self.state = self.power_cuts, {}
        return True

    def hear_anew(self) -> None:
        """Wait for a line that was written from now on: the one after the next."""
        with self._news:
            for _ in range(2):
                assert self._news.wait(_WAIT_S), f"{self._log} says nothing"

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if not line.endswith(b"}\n"):
                    continue  # cut off by a kill
                with self._news:
                    if process is self._process:
                        self.state = json.loads(line)
                    self._news.notify_all()
