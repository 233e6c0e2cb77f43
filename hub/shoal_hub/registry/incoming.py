"""Takes an artifact into the store while it arrives: hashed block by block, in the memory of one block."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from shoal_hub.errors import HubError
from shoal_hub.registry.artifacts import ArtifactStore, StoredArtifact

GATHERED_BYTES: Final = 1 << 20
"""What is written at once: a network's blocks are small, and each write of one would be a call of its own."""
_PREFIX: Final = "incoming-"
_LEFTOVER_S: Final = 3600.0
"""A file that has got nothing for so long belongs to a process that was killed."""


class StorageFullError(HubError):
    """The disk that takes what is sent has no room for it."""

    status = 507
    code = "storage_full"


class Incoming:
    """An artifact that is on its way; made by `receiving`.

    Attributes:
        size_bytes: What has come.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest: Any = hashlib.sha256()
        self.size_bytes = 0

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Add the next bytes.

        Raises:
            StorageFullError: The disk is full.
        """
        try:
            self._file.write(block)
        except OSError as error:
            raise StorageFullError(f"keeping an artifact: {error.strerror}", "make room on the hub's disk") from error
        self._digest.update(block)
        self.size_bytes += len(block)

    def finish(self, store: ArtifactStore) -> StoredArtifact:
        """Move what has come into the store, under its hash."""
        self._file.flush()
        os.fsync(self._file.fileno())
        stored = StoredArtifact(self._digest.hexdigest(), self.size_bytes)
        store.adopt(Path(self._file.name), stored)
        return stored


@contextmanager
def receiving(store: ArtifactStore, folder: Path) -> Iterator[Incoming]:
    """Open a place for an artifact that arrives; what is not finished in the block is gone after it.

    Args:
        store: Where it is to go. One in a folder takes the file as it is; another gets it sent from `folder`.
        folder: For parts of artifacts where the store is elsewhere.

    Raises:
        StorageFullError: The disk is full.
    """
    place = store.local_root() or folder
    place.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(place)
    with tempfile.NamedTemporaryFile(dir=place, prefix=_PREFIX, delete=False) as file:
        try:
            yield Incoming(file)
        finally:
            with suppress(FileNotFoundError):
                Path(file.name).unlink()


def _clear_leftovers(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # another request is as fast
            if path.stat().st_mtime < time.time() - _LEFTOVER_S:
                path.unlink()
