"""The device's artifacts, one file a hash, and the partial ones that a transfer fills chunk by chunk.

Which chunks a partial file holds is derived from the file itself, so that no note about it can lie after a power
cut. Whoever needs an artifact names its hash; a file that is in the store has been verified as a whole.
"""

import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from shoal_agent.durable import make_folder, sync_folder
from shoal_agent.errors import ArtifactError, DiskError, FetchError
from shoal_contract.desired import ArtifactRef
from shoal_contract.ids import sha256_hex
from shoal_contract.transfer import TransferManifest

_READ_BYTES = 1024 * 1024


class PartialBlob:
    """A file that is being filled: `missing` are the chunks that are not yet there."""

    def __init__(self, path: Path, manifest: TransferManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._file = path.open("r+b" if path.exists() else "w+b")  # closed by `close`
        try:
            os.ftruncate(self._file.fileno(), manifest.size_bytes)
            self.missing = {index for index in range(len(manifest.chunks)) if not self._holds(index)}
        except OSError:
            self._file.close()
            raise

    def write(self, index: int, data: bytes) -> None:
        """Check a chunk and put it in its place.

        Raises:
            shoal_contract.errors.TransferError: Its size or hash is wrong.
            DiskError: The disk does not take it.
        """
        self.manifest.check_chunk(index, data)
        try:
            os.pwrite(self._file.fileno(), data, index * self.manifest.chunk_bytes)
        except OSError as error:
            message = f"writing chunk {index} of {self.manifest.sha256[:12]}: {error}"
            raise DiskError(message, "free some disk space") from error
        self.missing.discard(index)

    def sync_and_close(self) -> None:
        """Make all that was written durable."""
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Let go of the file; what it holds is found again at the next opening."""
        self._file.close()

    def _holds(self, index: int) -> bool:
        size = self.manifest.size_of(index)
        data = os.pread(self._file.fileno(), size, index * self.manifest.chunk_bytes)
        return sha256_hex(data) == self.manifest.chunks[index]


class BlobStore:
    """The folder `<data>/blobs`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

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
            partial.sync_and_close()
            found = _hash_file(partial.path)
            if found != ref.sha256:
                partial.path.unlink()
                message = f"verifying artifact {ref.sha256[:12]}: the whole file's hash is {found[:12]}"
                raise FetchError(message, "the chunk list was wrong; the agent fetches it again")
            partial.path.replace(self.path(ref.sha256))
            sync_folder(self._folder)
        except OSError as error:
            raise DiskError(f"storing artifact {ref.sha256[:12]}: {error}", "free some disk space") from error
        return self.path(ref.sha256)

    def check(self, sha256: str) -> None:
        """Hash a stored artifact again; a damaged one is thrown away.

        Raises:
            ArtifactError: The file is not there, or not what its name says.
            DiskError: It can not be read.
        """
        path, remedy = self.path(sha256), "the agent fetches it again; check the disk if it happens more than once"
        try:
            if _hash_file(path) == sha256:
                return
            path.unlink()
        except FileNotFoundError as error:
            raise ArtifactError(f"checking the stored artifact {sha256[:12]}: it is not there", remedy) from error
        except OSError as error:
            raise DiskError(f"checking the stored artifact {sha256[:12]}: {error}") from error
        raise ArtifactError(f"checking the stored artifact {sha256[:12]}: its bytes have changed on disk", remedy)

    def collect(self, keep: Collection[str]) -> list[str]:
        """Delete every whole or partial artifact whose hash is not in `keep`; return the hashes deleted."""
        gone = [(sha256, path) for sha256, path in self._entries() if sha256 not in keep]
        for _, path in gone:
            path.unlink(missing_ok=True)
        return sorted({sha256 for sha256, _ in gone})

    def _entries(self) -> Iterator[tuple[str, Path]]:
        for path in sorted(self._folder.iterdir()):
            yield path.name.removesuffix(".part"), path

    def _partial_path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.part"


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
