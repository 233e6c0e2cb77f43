"""One simulated device: its disk, its faults, and its lives from boot to power cut."""

import random
import time
from logging import getLogger
from pathlib import Path

import anyio

from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.identity import Identity
from shoal_agent.simulated.disk import Disk, Mount
from shoal_agent.simulated.faults import DeviceFaults
from shoal_agent.simulated.kept import KeptDisk
from shoal_agent.simulated.life import Life
from shoal_agent.simulated.traffic import Traffic
from shoal_agent.simulated.world import World
from shoal_contract.desired import DesiredModel

_log = getLogger(__name__)


class SimulatedDevice:
    """An enrolled device of a simulation.

    Args:
        identity: Who it is.
        index: Its number in the simulation.
        faults: What goes wrong with it.
        world: What it shares with the others.
        traffic: Makes its requests.
        kept_in: The folder of its disk, which then outlives this process; None for a disk in memory.
    """

    def __init__(
        self,
        identity: Identity,
        index: int,
        faults: DeviceFaults,
        world: World,
        traffic: Traffic,
        kept_in: Path | None = None,
    ) -> None:
        self.index = index
        self.identity = identity
        self._encryption_key = load_or_make_encryption_key(identity.folder, identity.device_id)
        self._faults = faults
        self._world = world
        self._traffic = traffic
        self._chance = random.Random(index)  # noqa: S311 - which chunks a cut loses is no secret
        self.disk = _disk_of(world, kept_in)
        self.life: Life | None = None
        self._wished: set[str] = set()
        self._active: set[str] = set()
        self._mount: Mount | None = None
        self._past_bytes = (0, 0)

    @property
    def state(self) -> str:
        """Whether it is `online`, `offline` (no connection) or `off` (no power)."""
        if self.life is None:
            return "off"
        return "online" if self.life.link.is_connected else "offline"

    @property
    def is_slow(self) -> bool:
        """Whether its line is slow."""
        return self._faults.bytes_per_s is not None

    @property
    def travelled_bytes(self) -> tuple[int, int]:
        """Bytes received and sent over TLS, headers of MQTT included."""
        received, sent = self._past_bytes
        clients = self.life.clients if self.life is not None else []
        return received + sum(one.received_bytes for one in clients), sent + sum(one.sent_bytes for one in clients)

    async def run(self) -> None:
        """Live until cancelled; a power cut ends a life, and after a while another begins."""
        try:
            while True:
                await self._live()
                self._world.faults["power_cut"] += 1
                self.disk.lose_unsynced(self._chance)
                await anyio.sleep(self._faults.power_off_s)
        finally:
            self.disk.close()

    def wished(self, name: str, wanted: DesiredModel) -> None:
        """Take note that it has been asked for a version; draw when the power goes on the way."""
        if wanted.deployment in self._wished:
            return
        at = self._faults.power_cut_at(len(self._wished))
        self._wished.add(wanted.deployment)
        self._world.milestones.wanted(name, wanted.version, time.time())
        if at is not None and self._mount is not None:
            self._mount.cut_power_at(at)

    def cut_power(self, write: int) -> None:
        """Cut its power now, or right before a coming write of its disk.

        Args:
            write: Which one, counted from 1; 0 for now. Without power nothing happens.
        """
        if self._mount is not None and write:
            self._mount.cut_power_at(write)
        elif self._mount is not None:
            self._mount.cut_power()

    def became_active(self, name: str, wanted: DesiredModel) -> None:
        """Take note that a version serves."""
        if wanted.deployment not in self._active:
            self._active.add(wanted.deployment)
            self._world.milestones.active(name, wanted.version, time.time())

    async def _live(self) -> None:
        """Run from boot to power cut."""
        scope = anyio.CancelScope()
        mount = Mount(self.disk, self._fails_write, lambda: self._world.network.call(self._lose_power, scope))
        self._mount = mount
        self.life = Life(
            identity=self.identity,
            encryption_key=self._encryption_key,
            mount=mount,
            world=self._world,
            fails_model=self._fails_model,
            bytes_per_s=self._faults.bytes_per_s,
            witness=self,
            traffic=self._traffic,
        )
        try:
            with scope:
                async with anyio.create_task_group() as group:
                    if self._faults.loses_line:
                        group.start_soon(self._lose_line, self.life)
                    await self.life.run()
        finally:
            self._past_bytes = self.travelled_bytes
            self.life = self._mount = None

    def _lose_power(self, scope: anyio.CancelScope) -> None:
        for client in self.life.clients if self.life is not None else ():
            client.unplug()
        scope.cancel()

    async def _lose_line(self, life: Life) -> None:
        while True:
            online_s, offline_s = self._faults.next_outage()
            await anyio.sleep(online_s)
            self._world.faults["offline"] += 1
            life.client.cut_line(offline_s)
            await anyio.sleep(offline_s)

    def _fails_write(self) -> bool:
        fails = self._faults.fails_write()
        if fails:
            self._world.faults["bad_disk"] += 1
        return fails

    def _fails_model(self, sha256: str) -> bool:
        fails = self._faults.fails_model(sha256)
        if fails:
            self._world.faults["failing_model"] += 1
        return fails


def _disk_of(world: World, kept_in: Path | None) -> Disk:
    outbox, clock_ns = world.settings.outbox, lambda: int(world.clock().timestamp() * 1e9)
    if kept_in is None:
        return Disk.empty(world.blobs, outbox, clock_ns)
    return KeptDisk.open(world.blobs, outbox, clock_ns, kept_in)
