"""The processes of a simulated fleet: starts them, adds up what they say, and stops them.

They are the agent's (`python -m shoal_agent.simulated`), of which nothing is imported here: what they say comes as
lines of JSON. docs/adr/0018 has the reasons.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_client import ClientError

_PROGRAM = "shoal_agent.simulated"
_STOP_S = 60.0
_LOG_BYTES = 4000


class VersionTimes(BaseModel):
    """When simulated devices were asked for a version, and when it was active on them (Unix time in s)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    version: int
    devices: int
    first_wanted_at_s: float
    last_active_at_s: float | None


class FleetState(BaseModel):
    """How the devices of one process, or of all, are; `states` are online, offline (no line) and off (no power)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    devices: int = 0
    enrolled: int = 0
    states: dict[str, int] = Field(default_factory=dict)
    sections: dict[str, int] = Field(default_factory=dict)
    active: dict[str, int] = Field(default_factory=dict)
    versions: list[VersionTimes] = Field(default_factory=list)
    received_bytes: int = 0
    sent_bytes: int = 0
    faults: dict[str, int] = Field(default_factory=dict)
    activated_twice: int = 0
    cpu_s: float = 0.0

    @property
    def online(self) -> int:
        """Devices that are connected."""
        return self.states.get("online", 0)


class FanOut(BaseModel):
    """What it took all devices to read an artifact's chunks and throw them away (Unix time in s)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    started_at_s: float
    ended_at_s: float
    received_bytes: int
    cpu_s: float


def add_up(states: Sequence[FleetState]) -> FleetState:
    """Return the state of all processes together."""
    versions: dict[tuple[str, int], VersionTimes] = {}
    for one in (times for state in states for times in state.versions):
        known = versions.get((one.model, one.version))
        versions[one.model, one.version] = one if known is None else _both(known, one)
    return FleetState(
        devices=sum(one.devices for one in states),
        enrolled=sum(one.enrolled for one in states),
        states=_sum(one.states for one in states),
        sections=_sum(one.sections for one in states),
        active=_sum(one.active for one in states),
        versions=[times for _, times in sorted(versions.items())],
        received_bytes=sum(one.received_bytes for one in states),
        sent_bytes=sum(one.sent_bytes for one in states),
        faults=_sum(one.faults for one in states),
        activated_twice=sum(one.activated_twice for one in states),
        cpu_s=sum(one.cpu_s for one in states),
    )


def split_evenly(devices: int, processes: int) -> list[tuple[int, int]]:
    """Return the first device and the number of devices of each process; none is left without a device."""
    count = min(devices, processes)
    bounds = [devices * index // count for index in range(count + 1)]
    return [(start, end - start) for start, end in pairwise(bounds)]


@dataclass(frozen=True)
class SimulationPlan:
    """What to simulate.

    Attributes:
        hub_url: The hub's address.
        token: Enrols the devices that are not enrolled yet.
        data: The folder of the devices' identities.
        devices: How many.
        processes: Over how many processes they are spread.
        options: More options of each process, as its command line takes them.
    """

    hub_url: str
    token: str
    data: Path
    devices: int
    processes: int
    options: tuple[str, ...] = ()


class Simulation:
    """The running processes of a simulated fleet.

    Args:
        plan: What to simulate.
    """

    def __init__(self, plan: SimulationPlan) -> None:
        self.plan = plan
        self._processes = [_Process(plan, *part) for part in split_evenly(plan.devices, plan.processes)]

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [one.pid for one in self._processes]

    def state(self) -> FleetState:
        """Return what they have said last, added up.

        Raises:
            ClientError: One has ended by itself.
        """
        for one in self._processes:
            one.check()
        return add_up([one.state for one in self._processes])

    def fan_out(self, sha256: str, chunks: int, window: int, timeout_s: float) -> list[FanOut]:
        """Have every device read an artifact's chunks and throw them away; return what it took each process.

        Raises:
            ClientError: One has not ended in time.
        """
        for one in self._processes:
            one.send({"do": "fan_out", "sha256": sha256, "chunks": chunks, "window": window})
        return [one.wait_for_fan_out(timeout_s) for one in self._processes]

    def stop(self) -> FleetState:
        """Have every device say farewell, end the processes and return how the devices were."""
        for one in self._processes:
            one.ask_to_stop()
        for one in self._processes:
            one.wait()
        return add_up([one.state for one in self._processes])

    def kill(self) -> None:
        """Leave nothing running."""
        for one in self._processes:
            one.kill()


@contextmanager
def simulating(plan: SimulationPlan) -> Iterator[Simulation]:
    """Run a simulation for the length of the block; what the block has not stopped is killed."""
    simulation = Simulation(plan)
    try:
        yield simulation
    finally:
        simulation.kill()


class _Process:
    """One process of a simulation."""

    def __init__(self, plan: SimulationPlan, first: int, devices: int) -> None:
        self.state = FleetState(devices=devices)
        self._fan_out: FanOut | None = None
        self._has_ended = False
        self._news = threading.Condition()
        self._log = plan.data / f"simulated-{first:06d}.log"
        plan.data.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", _PROGRAM, "--hub", plan.hub_url, "--data", str(plan.data),
            "--first", str(first), "--devices", str(devices), *plan.options,
        ]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "SHOAL_TOKEN": plan.token},
                start_new_session=True,  # Ctrl-C is for who started it, and who then has it say farewell
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        if self._process.poll() is not None:
            message = f"simulating devices: a process ended with status {self._process.returncode}: {self._told()}"
            raise ClientError(message, f"see {self._log}")

    def send(self, command: dict[str, str | int]) -> None:
        self._fan_out = None
        self.check()
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()

    def wait_for_fan_out(self, timeout_s: float) -> FanOut:
        with self._news:
            self._news.wait_for(lambda: self._fan_out is not None or self._has_ended, timeout_s)
        if self._fan_out is None:
            if self._has_ended:  # what it wrote to has been closed, so that its status is about to be known
                self._process.wait(_STOP_S)
            self.check()
            raise ClientError(f"simulating devices: no fan-out within {timeout_s} s", f"see {self._log}")
        return self._fan_out

    def ask_to_stop(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                return  # it has ended; `wait` sees to the rest

    def wait(self) -> None:
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join(_STOP_S)

    def kill(self) -> None:
        self.ask_to_stop()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._reader.join(_STOP_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            try:
                said = json.loads(line)
                with self._news:
                    if said.get("kind") == "fan_out":
                        self._fan_out = FanOut.model_validate(said)
                    else:
                        self.state = FleetState.model_validate(said)
                    self._news.notify_all()
            except (ValueError, ValidationError):
                continue  # cut off by the end of the process, of which `check` tells
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def _told(self) -> str:
        return self._log.read_bytes()[-_LOG_BYTES:].decode(errors="replace").strip()


def _both(one: VersionTimes, other: VersionTimes) -> VersionTimes:
    ends = [times.last_active_at_s for times in (one, other) if times.last_active_at_s is not None]
    return VersionTimes(
        model=one.model,
        version=one.version,
        devices=one.devices + other.devices,
        first_wanted_at_s=min(one.first_wanted_at_s, other.first_wanted_at_s),
        last_active_at_s=max(ends, default=None),
    )


def _sum(counts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
