"""The agent's stores on a simulated disk: artifacts, roles, desired state, ledger, behind the real ones' interfaces."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from shoal_agent.blobs import BlobStore, PartialBlob, Result
from shoal_agent.desired_file import DesiredFile
from shoal_agent.errors import ArtifactError, DiskError, FetchError
from shoal_agent.ledger import Ledger
from shoal_agent.settings import LedgerSettings
from shoal_agent.simulated.disk import Mount
from shoal_agent.simulated.journal import Change
from shoal_agent.simulated.shared_blobs import SharedBlobs
from shoal_agent.slots import SlotFile, Slots
from shoal_agent.trust import Keys
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.transfer import TransferManifest


class Stores(Protocol):
    """What a life keeps on its disk."""

    def blobs(self) -> BlobStore:
        """Open the store of artifacts."""

    def slots(self, name: str) -> SlotFile:
        """Open the roles of a model."""

    def desired(self, keys: Callable[[], Keys], device_id: str) -> DesiredFile:
        """Open the desired state in force; see `DesiredFile`."""

    def ledger(self, settings: LedgerSettings, certain: Callable[[], datetime], begin: Callable[[], int]) -> Ledger:
        """Open the byte ledger; see `Ledger`."""

    def models(self) -> list[str]:
        """Names of the models that have roles."""


class MemoryPartial(PartialBlob):
    """A transfer that has not ended; right chunks are those of the process, held once."""

    def __init__(self, mount: Mount, path: Path, manifest: TransferManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._mount = mount
        self._shared: SharedBlobs = mount.disk.shared
        self._chunks = mount.disk.partials.setdefault(manifest.sha256, {})
        self._right = {index for index, data in self._chunks.items() if self._is_right(index, data)}
        self.missing = set(range(len(manifest.chunks))) - self._right

    @override
    def write(self, index: int, data: bytes) -> None:
        self.manifest.check_size(index, data)
        self._mount.write(f"chunk {index} of {self.manifest.sha256[:12]}")
        right = self._shared.chunk(self.manifest, index, data)
        self._chunks[index] = data if right is None else right
        (self._right.discard if right is None else self._right.add)(index)
        self.missing.discard(index)

    @property
    @override
    def missing_bytes(self) -> int:
        return sum(self.manifest.size_of(index) for index in tuple(self.missing))

    @override
    def find_wrong(self) -> None:
        if self.missing or self.sha256() != self.manifest.sha256:
            self.missing = set(range(len(self.manifest.chunks))) - self._right

    @override
    def sha256(self) -> str:
        parts = self.parts()
        if len(self._right) == len(self.manifest.chunks):
            return self._shared.whole(self.manifest.chunks, parts)
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @override
    def sync_and_close(self) -> None:
        self._mount.write(f"transfer of {self.manifest.sha256[:12]}")

    @override
    def close(self) -> None:
        """Let go of nothing: the disk holds it."""

    def parts(self) -> list[bytes]:
        """Return the chunks in order."""
        return [data for _, data in sorted(self._chunks.items())]

    def _is_right(self, index: int, data: bytes) -> bool:
        return index < len(self.manifest.chunks) and self._shared.chunk(self.manifest, index, data) is not None


class MemoryBlobs(BlobStore):
    """The artifacts of one simulated disk; a verified file lies once in the process."""

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount.disk.shared.folder)
        self._mount = mount
        self._disk = mount.disk

    @override
    async def work(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Do it at once: memory is not waited for, and a thread would cost more than what it does."""
        return function(*arguments)

    @override
    def has(self, sha256: str) -> bool:
        return sha256 in self._disk.artifacts

    @override
    def read(self, sha256: str, max_bytes: int) -> bytes:
        if not self.has(sha256):
            raise DiskError(f"reading artifact {sha256[:12]}: it is not on the simulated disk")
        return super().read(sha256, max_bytes)

    @override
    def has_partial(self, sha256: str) -> bool:
        return sha256 in self._disk.partials

    @override
    def put(self, ref: ArtifactRef, parts: Iterable[bytes]) -> None:
        data = b"".join(parts)
        if (found := hashlib.sha256(data).hexdigest()) != ref.sha256:
            raise ArtifactError(f"making artifact {ref.sha256[:12]}: its hash is {found[:12]}")
        self._keep(ref.sha256, [data])

    @override
    def open_partial(self, manifest: TransferManifest) -> PartialBlob:
        self._mount.write(f"transfer of {manifest.sha256[:12]}")
        return MemoryPartial(self._mount, self._partial_path(manifest.sha256), manifest)

    @override
    def finish(self, partial: PartialBlob, ref: ArtifactRef) -> Path:
        if not isinstance(partial, MemoryPartial):
            msg = f"finishing {ref.sha256[:12]}: a transfer of a simulated disk expected"
            raise TypeError(msg)
        found = partial.sha256()
        partial.sync_and_close()
        if found != ref.sha256:
            self._disk.partials.pop(partial.manifest.sha256, None)
            message = f"verifying artifact {ref.sha256[:12]}: the whole file's hash is {found[:12]}"
            raise FetchError(message, "the chunk list was wrong; the agent fetches it again")
        self._keep(ref.sha256, partial.parts())
        self._disk.partials.pop(ref.sha256, None)
        return self.path(ref.sha256)

    @override
    def check(self, sha256: str) -> None:
        if not self.has(sha256):
            remedy = "the agent fetches it again; check the disk if it happens more than once"
            raise ArtifactError(f"checking the stored artifact {sha256[:12]}: it is not there", remedy)

    @override
    def discard(self, sha256: str) -> None:
        if self.has(sha256):
            self._mount.write(f"that {sha256[:12]} is deleted")
            self._disk.artifacts.remove(sha256)
            self._disk.shared.drop(sha256)

    @override
    def collect(self, keep: Collection[str]) -> list[str]:
        gone = (self._disk.artifacts | self._disk.partials.keys()) - set(keep)
        for sha256 in gone:
            self.discard(sha256)
            self._disk.partials.pop(sha256, None)
        return sorted(gone)

    def _keep(self, sha256: str, parts: list[bytes]) -> None:
        self._mount.write(f"artifact {sha256[:12]}")
        if not self.has(sha256):
            self._disk.artifacts.add(sha256)
            self._disk.shared.take(sha256, parts)


class MemorySlots(SlotFile):
    """The roles of one model on a simulated disk; each time that one makes a version active is noted there."""

    def __init__(self, mount: Mount, name: str) -> None:
        self._mount = mount
        self._name = name
        self.slots = mount.disk.slots.get(name, Slots())

    @override
    def put(self, slots: Slots) -> Slots:
        if slots == self.slots:
            return slots
        self._mount.write(f"the roles of {self._name}")
        change = Change(model=self._name, before=self.slots, after=slots)
        if change.activation is not None:
            self._mount.disk.activations.append(change.activation)
        self.slots = self._mount.disk.slots[self._name] = slots
        return slots

    @override
    def forget(self) -> None:
        self._mount.write(f"that {self._name} has no roles")
        self._mount.disk.slots.pop(self._name, None)
        self.slots = Slots()


class MemoryDesired(DesiredFile):
    """The desired state in force on a simulated disk."""

    def __init__(self, mount: Mount, keys: Callable[[], Keys], device_id: str) -> None:
        super().__init__(Path("desired.json"), keys, device_id)
        self._mount = mount

    @override
    def _read(self) -> bytes | None:
        return self._mount.disk.desired

    @override
    def _write(self, content: bytes) -> None:
        self._mount.write("the desired state")
        self._mount.disk.desired = content


class MemoryLedger(Ledger):
    """The byte ledger on a simulated disk."""

    def __init__(
        self, mount: Mount, settings: LedgerSettings, certain: Callable[[], datetime], begin: Callable[[], int]
    ) -> None:
        self._mount = mount
        super().__init__(Path("ledger.json"), settings, certain, begin)

    @override
    def _load(self) -> bytes:
        if self._mount.disk.ledger is None:
            raise FileNotFoundError
        return self._mount.disk.ledger

    @override
    def _replace(self, content: bytes) -> None:
        self._mount.write("the byte ledger")
        self._mount.disk.ledger = content


class MemoryStores(Stores):
    """The stores of a disk in memory."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount

    @override
    def blobs(self) -> BlobStore:
        return MemoryBlobs(self._mount)

    @override
    def slots(self, name: str) -> SlotFile:
        return MemorySlots(self._mount, name)

    @override
    def desired(self, keys: Callable[[], Keys], device_id: str) -> DesiredFile:
        return MemoryDesired(self._mount, keys, device_id)

    @override
    def ledger(self, settings: LedgerSettings, certain: Callable[[], datetime], begin: Callable[[], int]) -> Ledger:
        return MemoryLedger(self._mount, settings, certain, begin)

    @override
    def models(self) -> list[str]:
        return sorted(self._mount.disk.slots)
