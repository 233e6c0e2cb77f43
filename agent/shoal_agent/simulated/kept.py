"""Simulated disks that outlive their process: the agent's own stores, in a folder a device, behind the same mount.

`kill -9` of the process leaves what a device's own kill leaves; a simulated power cut, in the process, ends the mount.
"""

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from typing_extensions import override

from shoal_agent.blobs import BlobStore, PartialBlob
from shoal_agent.desired_file import DesiredFile
from shoal_agent.ledger import Ledger
from shoal_agent.outbox import Outbox
from shoal_agent.settings import LedgerSettings, OutboxSettings
from shoal_agent.simulated.disk import Disk, Mount
from shoal_agent.simulated.journal import JournalledSlots, made, read_changes
from shoal_agent.simulated.shared_blobs import SharedBlobs
from shoal_agent.simulated.stores import MemoryStores, Stores
from shoal_agent.slots import SlotFile, Slots, known_models
from shoal_agent.trust import Keys
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.transfer import TransferManifest

_BLOCK_BYTES = 4096
"""What a power cut loses of a file, or does not, at a time."""


@dataclass
class KeptDisk(Disk):
    """A disk in a folder; the fields of a disk in memory stay empty, but for the activations.

    Attributes:
        folder: `models/`, `blobs/`, `desired.json`, `ledger.json`, `outbox.sqlite` and `roles.jsonl`, the journal.
    """

    folder: Path = Path()

    @classmethod
    def open(
        cls, shared: SharedBlobs, settings: OutboxSettings, clock_ns: Callable[[], int], folder: Path
    ) -> "KeptDisk":
        """Open what an earlier process has left in a folder, or begin there."""
        models = folder / "models"
        now = {name: SlotFile(models, name).slots for name in known_models(models)}
        outbox = Outbox(folder / "outbox.sqlite", settings, clock_ns)
        disk = cls(shared, outbox, folder=folder)
        changes = made(read_changes(disk.journal), now)
        disk.activations = [one.activation for one in changes if one.activation is not None]
        return disk

    @property
    def journal(self) -> Path:
        """The file of the journal."""
        return self.folder / "roles.jsonl"

    @override
    def lose_unsynced(self, chance: random.Random) -> None:
        for path in sorted((self.folder / "blobs").glob("*.part")):
            with path.open("r+b") as file:
                for offset in range(0, path.stat().st_size, _BLOCK_BYTES):
                    if chance.random() < 0.5:  # noqa: PLR2004 - one in two
                        file.seek(offset)
                        file.write(bytes(min(_BLOCK_BYTES, path.stat().st_size - offset)))

    @override
    def close(self) -> None:
        self.outbox.close()


class KeptPartial(PartialBlob):
    """A transfer that has not ended, in its file."""

    def __init__(self, mount: Mount, path: Path, manifest: TransferManifest) -> None:
        super().__init__(path, manifest)
        self._mount = mount

    @override
    def write(self, index: int, data: bytes) -> None:
        self._mount.write(f"chunk {index} of {self.manifest.sha256[:12]}")
        super().write(index, data)


class KeptBlobs(BlobStore):
    """The artifacts of a kept disk."""

    def __init__(self, mount: Mount, folder: Path) -> None:
        super().__init__(folder)
        self._mount = mount

    @override
    def put(self, ref: ArtifactRef, parts: Iterable[bytes]) -> None:
        self._mount.write(f"artifact {ref.sha256[:12]}")
        super().put(ref, parts)

    @override
    def open_partial(self, manifest: TransferManifest) -> PartialBlob:
        self._mount.write(f"transfer of {manifest.sha256[:12]}")
        return KeptPartial(self._mount, self._partial_path(manifest.sha256), manifest)

    @override
    def finish(self, partial: PartialBlob, ref: ArtifactRef) -> Path:
        self._mount.write(f"artifact {ref.sha256[:12]}")
        return super().finish(partial, ref)

    @override
    def mark_passing(self, sha256: str) -> None:
        self._mount.write(f"that {sha256[:12]} is a delta")
        super().mark_passing(sha256)

    @override
    def discard(self, sha256: str) -> None:
        self._mount.write(f"that {sha256[:12]} is deleted")
        super().discard(sha256)

    @override
    def check(self, sha256: str) -> None:
        if self.is_passing(sha256):
            self._mount.write(f"that {sha256[:12]} is no delta")
        super().check(sha256)

    @override
    def collect(self, keep: Collection[str]) -> list[str]:
        if any(sha256 not in keep for sha256, _ in self._entries()):
            self._mount.write("that artifacts are deleted")
        return super().collect(keep)


class KeptSlots(JournalledSlots):
    """The roles of one model on a kept disk."""

    def __init__(self, mount: Mount, disk: KeptDisk, name: str) -> None:
        super().__init__(disk.folder / "models", name, disk.journal)
        self._mount = mount

    @override
    def put(self, slots: Slots) -> Slots:
        if slots == self.slots:
            return slots
        self._mount.write(f"the roles of {self._name}")
        change = self.change_to(slots)
        SlotFile.put(self, slots)
        if change.activation is not None:
            self._mount.disk.activations.append(change.activation)
        return slots

    @override
    def forget(self) -> None:
        self._mount.write(f"that {self._name} has no roles")
        super().forget()


class KeptDesired(DesiredFile):
    """The desired state in force on a kept disk."""

    def __init__(self, mount: Mount, path: Path, keys: Callable[[], Keys], device_id: str) -> None:
        super().__init__(path, keys, device_id)
        self._mount = mount

    @override
    def _write(self, content: bytes) -> None:
        self._mount.write("the desired state")
        super()._write(content)


class KeptLedger(Ledger):
    """The byte ledger on a kept disk."""

    def __init__(
        self,
        mount: Mount,
        path: Path,
        settings: LedgerSettings,
        certain: Callable[[], datetime],
        begin: Callable[[], int],
    ) -> None:
        self._mount = mount
        super().__init__(path, settings, certain, begin)

    @override
    def _replace(self, content: bytes) -> None:
        self._mount.write("the byte ledger")
        super()._replace(content)


class KeptStores(Stores):
    """The stores of a kept disk."""

    def __init__(self, mount: Mount, disk: KeptDisk) -> None:
        self._mount = mount
        self._disk = disk

    @override
    def blobs(self) -> BlobStore:
        return KeptBlobs(self._mount, self._disk.folder / "blobs")

    @override
    def slots(self, name: str) -> SlotFile:
        return KeptSlots(self._mount, self._disk, name)

    @override
    def desired(self, keys: Callable[[], Keys], device_id: str) -> DesiredFile:
        return KeptDesired(self._mount, self._disk.folder / "desired.json", keys, device_id)

    @override
    def ledger(self, settings: LedgerSettings, certain: Callable[[], datetime], begin: Callable[[], int]) -> Ledger:
        return KeptLedger(self._mount, self._disk.folder / "ledger.json", settings, certain, begin)

    @override
    def models(self) -> list[str]:
        return known_models(self._disk.folder / "models")


def stores_on(mount: Mount) -> Stores:
    """Return the stores of whatever disk is mounted."""
    disk = mount.disk
    return KeptStores(mount, disk) if isinstance(disk, KeptDisk) else MemoryStores(mount)
