"""The device's artifacts, one file a hash, and the partial ones that a transfer fills chunk by chunk.

Which chunks a partial file holds is derived from the file itself, so that no note about it can lie after a power
cut. Whoever needs an artifact names its hash; a file that is in the store has been verified as a whole.
"""

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from anyio import to_thread

from shoal_agent.durable import make_folder, sync_folder
from shoal_agent.errors import ArtifactError, DiskError, FetchError
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.ids import sha256_hex
from shoal_contract.transfer import TransferManifest

Result = TypeVar("Result")
_READ_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
"""Unit of `st_blocks`, whatever the file system's blocks are."""


class PartialBlob:
    """A file that is being filled: `missing` are the chunks that are not yet there.

    The whole file's hash is the one that is signed. It goes along with the chunks, so that nothing is read or hashed a
    second time at the end; the chunks' own hashes, which nobody signs, are asked only where it does not come out right,
    and after an interruption.
    """

    def __init__(self, path: Path, manifest: TransferManifest) -> None:
        self.path = path
        self.manifest = manifest
        is_new = not path.exists()
        self._file = path.open("w+b" if is_new else "r+b")  # closed by `close`
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._digested = 0  # chunks from the beginning on
        try:
            os.ftruncate(self._file.fileno(), manifest.size_bytes)
            indices = range(len(manifest.chunks))
            self.missing = set(indices) if is_new else {index for index in indices if not self._holds(index)}
        except OSError:
            self._file.close()
            raise

    def write(self, index: int, data: bytes) -> None:
        """Put a chunk in its place; may be called from several threads.

        Raises:
            shoal_contract.errors.TransferError: It has no place there, or another size.
            DiskError: The disk does not take it.
        """
        self.manifest.check_size(index, data)
        try:
            _write_whole(self._file.fileno(), data, index * self.manifest.chunk_bytes)
            with self._lock:
                self.missing.discard(index)
                self._digest_next(index, data)
        except OSError as error:
            message = f"writing chunk {index} of {self.manifest.sha256[:12]}: {error}"
            raise DiskError(message, "free some disk space") from error

    def find_wrong(self) -> None:
        """Let the chunks be missing again whose hashes are wrong, if the whole file's is.

        Raises:
            DiskError: The file can not be read.
        """
        if self.sha256() == self.manifest.sha256:
            return
        self._digest, self._digested = hashlib.sha256(), 0
        try:
            self.missing = {index for index in range(len(self.manifest.chunks)) if not self._holds(index)}
        except OSError as error:
            raise DiskError(f"reading the transfer of {self.manifest.sha256[:12]}: {error}") from error

    @property
    def missing_bytes(self) -> int:
        """Bytes of the chunks that are not yet there."""
        with self._lock:
            return sum(self.manifest.size_of(index) for index in self.missing)

    def sha256(self) -> str:
        """Return the hash of the whole file, all of whose chunks are there."""
        return self._digest.hexdigest()

    def sync_and_close(self) -> None:
        """Make all that was written durable."""
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Let go of the file; what it holds is found again at the next opening."""
        self._file.close()

    def _digest_next(self, index: int, data: bytes) -> None:
        """Hash a chunk if it is the next one, and then those that came before their turn."""
        if index != self._digested:
            return
        self._digest.update(data)
        self._digested += 1
        while self._digested < len(self.manifest.chunks) and self._digested not in self.missing:
            self._digest.update(self._read(self._digested))
            self._digested += 1

    def _holds(self, index: int) -> bool:
        data = self._read(index)
        is_there = sha256_hex(data) == self.manifest.chunks[index]
        if is_there and index == self._digested:
            self._digest.update(data)
            self._digested += 1
        return is_there

    def _read(self, index: int) -> bytes:
        return os.pread(self._file.fileno(), self.manifest.size_of(index), index * self.manifest.chunk_bytes)


class BlobStore:
    """The folder `<data>/blobs`.

    Args:
        folder: Made if it is not there.
        is_read_only: Leave it as it is.
    """

    def __init__(self, folder: Path, *, is_read_only: bool = False) -> None:
        self._folder = folder
        self._verified: dict[str, tuple[int, int, int]] = {}
        if is_read_only:  # beside an agent that works on it
            return
        make_folder(folder)
        for left in folder.glob("*.new"):  # by a process that was cut off in `put`
            with suppress(OSError):  # a disk that has turned read-only still serves what it holds
                left.unlink()

    async def work(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Do what waits for this store's disk, in a thread."""
        return await to_thread.run_sync(function, *arguments)

    def path(self, sha256: str) -> Path:
        """Where the verified artifact lies, if it is there."""
        return self._folder / sha256

    def has(self, sha256: str) -> bool:
        """Whether the whole, verified artifact is there."""
        return self.path(sha256).exists()

    def read(self, sha256: str, max_bytes: int) -> bytes:
        """Return a verified artifact's bytes.

        Raises:
            DiskError: It is not there, or larger than `max_bytes`.
        """
        path = self.path(sha256)
        try:
            size = path.stat().st_size
            if size > max_bytes:
                raise DiskError(f"reading artifact {sha256[:12]}: {size} bytes found, at most {max_bytes} allowed")
            return path.read_bytes()
        except OSError as error:
            raise DiskError(f"reading artifact {sha256[:12]}: {error}") from error

    def has_partial(self, sha256: str) -> bool:
        """Whether a transfer of the artifact was begun and has not ended."""
        return self._partial_path(sha256).exists()

    def mark_passing(self, sha256: str) -> None:
        """Note, before an artifact is fetched, that it is wanted for a moment only: a delta.

        Raises:
            DiskError: The disk does not take it.
        """
        try:
            self._passing_path(sha256).touch()
        except OSError as error:
            raise DiskError(f"noting that {sha256[:12]} is a delta: {error}", "free some disk space") from error

    def is_passing(self, sha256: str) -> bool:
        """Whether an artifact came as a delta and nobody has checked it since to use it as a file."""
        return self._passing_path(sha256).exists()

    def put(self, ref: ArtifactRef, parts: Iterable[bytes]) -> None:
        """Put an artifact into the store that was made here, once its hash has come out right.

        Raises:
            ArtifactError: What was made is not what `ref` names; nothing is kept of it.
            DiskError: The disk does not take it.
        """
        # A name of its own: two models may have the same file, and make it at the same time.
        temporary, digest = self._folder / f"{ref.sha256}.{secrets.token_hex(4)}.new", hashlib.sha256()
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                for part in parts:
                    digest.update(part)
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != ref.sha256:
                raise ArtifactError(f"making artifact {ref.sha256[:12]}: its hash is {digest.hexdigest()[:12]}")
            temporary.replace(self.path(ref.sha256))
            sync_folder(self._folder)
            self._verified[ref.sha256] = _state_of(self.path(ref.sha256))
        except OSError as error:
            raise DiskError(f"storing artifact {ref.sha256[:12]}: {error}", "free some disk space") from error
        finally:
            with suppress(OSError):  # on a disk that has turned read-only what was wrong first is told
                temporary.unlink(missing_ok=True)  # on a full disk even a part of a file is in the way

    def open_partial(self, manifest: TransferManifest) -> PartialBlob:
        """Open or go on with the partial file of an artifact.

        Raises:
            DiskError: The disk does not take it.
        """
        try:
            return PartialBlob(self._partial_path(manifest.sha256), manifest)
        except OSError as error:
            message = f"opening the transfer of {manifest.sha256[:12]} ({manifest.size_bytes} bytes): {error}"
            raise DiskError(message, "free some disk space") from error

    def finish(self, partial: PartialBlob, ref: ArtifactRef) -> Path:
        """Verify a filled file as a whole and put it into the store.

        Raises:
            FetchError: Its hash is not the signed one, as the chunk list, which nobody signs, was wrong; the partial
                file is thrown away.
            DiskError: The disk does not take it.
        """
        try:
            found = partial.sha256()
            partial.sync_and_close()
            if found != ref.sha256:
                partial.path.unlink()
                message = f"verifying artifact {ref.sha256[:12]}: the whole file's hash is {found[:12]}"
                raise FetchError(message, "the chunk list was wrong; the agent fetches it again")
            partial.path.replace(self.path(ref.sha256))
            sync_folder(self._folder)
            self._verified[ref.sha256] = _state_of(self.path(ref.sha256))
        except OSError as error:
            raise DiskError(f"storing artifact {ref.sha256[:12]}: {error}", "free some disk space") from error
        return self.path(ref.sha256)

    def check(self, sha256: str) -> None:
        """Hash a stored artifact, unless this process has and it was not touched since; throw a damaged one away.

        Raises:
            ArtifactError: The file is not there, or not what its name says.
            DiskError: It can not be read.
        """
        path, remedy = self.path(sha256), "the agent fetches it again; check the disk if it happens more than once"
        try:
            self._passing_path(sha256).unlink(missing_ok=True)  # whoever checks it needs it for longer
            state = _state_of(path)
            if self._verified.get(sha256) == state:
                return
            if _hash_file(path) == sha256:
                self._verified[sha256] = state
                return
            path.unlink()
        except FileNotFoundError as error:
            raise ArtifactError(f"checking the stored artifact {sha256[:12]}: it is not there", remedy) from error
        except OSError as error:
            raise DiskError(f"checking the stored artifact {sha256[:12]}: {error}") from error
        raise ArtifactError(f"checking the stored artifact {sha256[:12]}: its bytes have changed on disk", remedy)

    def discard(self, sha256: str) -> None:
        """Delete an artifact whose room is needed.

        Raises:
            DiskError: The disk does not let it go.
        """
        try:
            self.path(sha256).unlink(missing_ok=True)
            self._passing_path(sha256).unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"deleting artifact {sha256[:12]}: {error}") from error
        self._verified.pop(sha256, None)

    def evict(self, sha256: str) -> None:
        """Delete an artifact and what there is of a transfer of it.

        Raises:
            DiskError: The disk does not let it go.
        """
        self.discard(sha256)
        try:
            self._partial_path(sha256).unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"deleting the transfer of {sha256[:12]}: {error}") from error

    def sizes(self) -> dict[str, int]:
        """Return what each artifact takes on the disk, whole or partial, in bytes.

        Raises:
            DiskError: The folder can not be read.
        """
        found: dict[str, int] = {}
        try:
            for sha256, path in self._entries():
                with suppress(FileNotFoundError):  # finished or deleted meanwhile
                    found[sha256] = found.get(sha256, 0) + path.stat().st_blocks * _BLOCK_BYTES
        except OSError as error:
            raise DiskError(f"looking through {self._folder}: {error}") from error
        return found

    def free_bytes(self) -> int:
        """Return what this user may still write to the store's disk.

        Raises:
            DiskError: The disk can not be asked.
        """
        try:
            return shutil.disk_usage(self._folder).free
        except OSError as error:
            raise DiskError(f"asking how much is free for {self._folder}: {error}") from error

    def collect(self, keep: Collection[str]) -> list[str]:
        """Delete every whole or partial artifact whose hash is not in `keep`; return the hashes deleted."""
        gone = [(sha256, path) for sha256, path in self._entries() if sha256 not in keep]
        for sha256, path in gone:
            path.unlink(missing_ok=True)
            self._verified.pop(sha256, None)
        return sorted({sha256 for sha256, _ in gone})

    def _entries(self) -> Iterator[tuple[str, Path]]:
        for path in sorted(self._folder.iterdir()):
            yield path.name.partition(".")[0], path

    def _passing_path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.delta"

    def _partial_path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.part"


def _write_whole(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it, or raise: on a disk that is almost full a call takes a part, and only the next one fails."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _state_of(path: Path) -> tuple[int, int, int]:
    """What changes when somebody writes to the file or puts another in its place."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
