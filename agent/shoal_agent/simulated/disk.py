"""The disk of one simulated device, in memory: what is durable on it, its failures, and the loss of power.

What a running device writes goes through a `Mount`. A power cut ends the mount: whatever still runs over it fails from
then on, chunks that were not synced may be lost, and the next boot mounts what is left.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shoal_agent.errors import DiskError
from shoal_agent.outbox import Outbox
from shoal_agent.settings import OutboxSettings
from shoal_agent.simulated.journal import Activation
from shoal_agent.simulated.shared_blobs import SharedBlobs
from shoal_agent.slots import Slots

IN_MEMORY = Path(":memory:")
"""SQLite's own name of a database that has no file."""


@dataclass
class Disk:
    """What survives a power cut.

    Attributes:
        shared: The verified bytes of this process's artifacts.
        outbox: What the hub must get; each of its writes is durable.
        artifacts: Hashes of the whole artifacts that are here.
        partials: Chunks of transfers by artifact and index.
        slots: Roles by model.
        desired: The desired state in force, as it is kept.
        ledger: What has travelled, as it is kept.
        activations: All that there were, in order.
    """

    shared: SharedBlobs
    outbox: Outbox
    artifacts: set[str] = field(default_factory=set)
    partials: dict[str, dict[int, bytes]] = field(default_factory=dict)
    slots: dict[str, Slots] = field(default_factory=dict)
    desired: bytes | None = None
    ledger: bytes | None = None
    activations: list[Activation] = field(default_factory=list)

    @classmethod
    def empty(cls, shared: SharedBlobs, settings: OutboxSettings, clock_ns: Callable[[], int]) -> "Disk":
        """Return a disk that has nothing on it yet."""
        return cls(shared, Outbox(IN_MEMORY, settings, clock_ns))

    def lose_unsynced(self, chance: random.Random) -> None:
        """Lose half of the chunks of unfinished transfers, which nobody has synced."""
        for chunks in self.partials.values():
            for index in sorted(chunks):
                if chance.random() < 0.5:  # noqa: PLR2004 - one in two
                    del chunks[index]

    def close(self) -> None:
        """Give everything up."""
        for sha256 in self.artifacts:
            self.shared.drop(sha256)
        self.artifacts.clear()
        self.outbox.close()


class Mount:
    """A disk while the power is on.

    Args:
        disk: The disk.
        fails_write: Whether the next write fails.
        on_power_cut: Called in the thread whose write it was that the power went at.
    """

    def __init__(self, disk: Disk, fails_write: Callable[[], bool], on_power_cut: Callable[[], None]) -> None:
        self.disk = disk
        self.is_on = True
        self.failed_writes = 0
        self._fails_write = fails_write
        self._on_power_cut = on_power_cut
        self._writes_left: int | None = None

    def cut_power_at(self, write: int) -> None:
        """Cut the power right before a coming write, counted from 1."""
        self._writes_left = write

    def cut_power(self) -> None:
        """Cut it now, whatever is going on; what is off stays off."""
        if self.is_on:
            self.is_on = False
            self._on_power_cut()

    def write(self, what: str) -> None:
        """Let one write happen.

        Raises:
            DiskError: It does not.
        """
        if self._writes_left is not None:
            self._writes_left -= 1
            if self._writes_left == 0:
                self.cut_power()
        if not self.is_on:
            raise DiskError(f"writing {what}: the simulated power is off")
        if self._fails_write():
            self.failed_writes += 1
            raise DiskError(f"writing {what}: the simulated disk fails it", "wait: the agent tries again")
