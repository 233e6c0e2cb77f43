"""The simulated devices of one process: enrols them, runs them, takes commands and tells how they are."""

import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path

import anyio
from anyio import to_thread

from shoal_agent.enrol import enrol
from shoal_agent.errors import AgentError, HubUnreachableError
from shoal_agent.identity import Identity
from shoal_agent.settings import AgentSettings
from shoal_agent.simulated.device import SimulatedDevice
from shoal_agent.simulated.fan_out import fan_out
from shoal_agent.simulated.faults import DeviceFaults, FaultRates, FaultTimes
from shoal_agent.simulated.progress import FanOut, FleetState
from shoal_agent.simulated.traffic import Traffic, TrafficPlan
from shoal_agent.simulated.world import World, disk_of, folder_of

_log = getLogger(__name__)
_ATTEMPTS = 5
_AGAIN_S = 2.0
_FAREWELL_S = 10.0


@dataclass(frozen=True)
class FleetPlan:
    """Which devices a process simulates, and how.

    Attributes:
        hub_url: The hub's address.
        token: Enrols those that are not enrolled yet.
        data: The folder of all identities.
        settings: Of every device; its data folder is this process's own.
        first: Number of the first device.
        devices: How many there are.
        name: What their names begin with.
        seed: Of all faults.
        rates: How probable each fault is.
        times: How long faults last.
        traffic: What the devices' models are asked.
        enrolling: Devices that enrol at a time.
        handshakes: Connections that are being made at a time.
        keeps_disks: Whether the disks lie in the folder too, and outlive this process.
    """

    hub_url: str
    token: str
    data: Path
    settings: AgentSettings
    first: int
    devices: int
    name: str = "sim"
    seed: int = 0
    rates: FaultRates = field(default_factory=FaultRates)
    times: FaultTimes = field(default_factory=FaultTimes)
    traffic: TrafficPlan = field(default_factory=TrafficPlan)
    enrolling: int = 4
    handshakes: int = 8
    keeps_disks: bool = False


class Fleet:
    """The devices of one process.

    Args:
        plan: Which, and how.
    """

    def __init__(self, plan: FleetPlan) -> None:
        self.plan = plan
        self.devices: list[SimulatedDevice] = []
        self._identities: dict[int, Identity] = {}
        self._world: World | None = None

    async def enrol(self) -> None:
        """Enrol the devices that are not enrolled yet, a few at a time.

        Raises:
            EnrolmentError: The hub refused one.
        """
        limiter = anyio.CapacityLimiter(self.plan.enrolling)
        async with anyio.create_task_group() as group:
            for index in range(self.plan.first, self.plan.first + self.plan.devices):
                group.start_soon(self._enrol_one, index, limiter)

    async def run(self) -> None:
        """Run the devices until cancelled.

        Raises:
            AgentError: The MQTT client of one has crashed: a defect.
        """
        plan = self.plan
        identities = [self._identities[index] for index in sorted(self._identities)]
        self._world = world = World.around(identities[0], plan.settings, plan.handshakes)
        self.devices = [
            SimulatedDevice(
                identity,
                index,
                DeviceFaults(plan.seed, index, plan.rates, plan.times),
                world,
                Traffic(plan.traffic, plan.seed, index, world.samplers),
                disk_of(plan.data, index) if plan.keeps_disks else None,
            )
            for index, identity in sorted(self._identities.items())
        ]
        async with anyio.create_task_group() as group:
            group.start_soon(world.network.look_after)
            group.start_soon(world.trust.run)
            for device in self.devices:
                group.start_soon(device.run)

    async def fan_out(self, topics: Sequence[str], window: int) -> FanOut:
        """Have every device read these topics, as `fan_out` does, all at once."""
        before_bytes, before_cpu_s = self.state().received_bytes, time.process_time()
        started_at_s = time.time()
        async with anyio.create_task_group() as group:
            for device in self.devices:
                if device.life is not None:
                    group.start_soon(fan_out, device.life.link, topics, window, self.plan.settings.fetch)
        return FanOut(
            started_at_s=started_at_s,
            ended_at_s=time.time(),
            chunks=len(topics),
            received_bytes=self.state().received_bytes - before_bytes,
            cpu_s=time.process_time() - before_cpu_s,
        )

    def cut_power(self, index: int, write: int) -> None:
        """Cut the power of a device, see `SimulatedDevice.cut_power`; one that is not there is passed over."""
        for device in self.devices:
            if device.index == index:
                device.cut_power(write)

    async def say_farewell(self) -> None:
        """Have every device that is online tell the hub that it stops."""
        with anyio.move_on_after(_FAREWELL_S):
            async with anyio.create_task_group() as group:
                for device in self.devices:
                    if device.life is not None:
                        group.start_soon(device.life.say_farewell)

    def state(self) -> FleetState:
        """Return how the devices are now."""
        sections: Counter[str] = Counter()
        active: Counter[str] = Counter()
        for device in self.devices:
            if device.life is not None:
                sections.update(device.life.reporter.states("models/"))
                active.update(f"{model}/{version}" for model, version in device.life.serves.items())
        travelled = [device.travelled_bytes for device in self.devices]
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return FleetState(
            devices=self.plan.devices,
            enrolled=len(self._identities),
            states=dict(Counter(device.state for device in self.devices)),
            sections=dict(sections),
            active=dict(active),
            versions=self._world.milestones.to_report() if self._world else [],
            received_bytes=sum(received for received, _ in travelled),
            sent_bytes=sum(sent for _, sent in travelled),
            faults=self._faults(),
            activated_twice=sum(_activated_twice(device) for device in self.devices),
            cpu_s=usage.ru_utime + usage.ru_stime,
        )

    def _faults(self) -> dict[str, int]:
        slow = sum(device.is_slow for device in self.devices)
        made = dict(self._world.faults) if self._world else {}
        return made | ({"slow_link": slow} if slow else {})

    async def _enrol_one(self, index: int, limiter: anyio.CapacityLimiter) -> None:
        plan = self.plan
        folder, name = folder_of(plan.data, index), f"{plan.name}-{index:06d}"
        for attempt in range(_ATTEMPTS):
            try:
                self._identities[index] = await to_thread.run_sync(
                    enrol, folder, plan.hub_url, plan.token, name, limiter=limiter
                )
            except AgentError as error:
                if attempt == _ATTEMPTS - 1 or not isinstance(error.__cause__, HubUnreachableError):
                    raise
                _log.info("device %d: %s; trying again", index, error)
                await anyio.sleep(_AGAIN_S * 2**attempt)
            else:
                return


def _activated_twice(device: SimulatedDevice) -> int:
    times = Counter(one.deployment for one in device.disk.activations)
    return sum(count > 1 for count in times.values())
