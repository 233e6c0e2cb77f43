"""What all simulated disks of a process hold of the same artifacts, once: verified chunks and verified whole files.

A chunk that equals, byte for byte, one whose hash has been checked is right as well; comparing is fifty times faster
than hashing. What is wrong stays with the disk that it came to.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from shoal_contract.ids import sha256_hex
from shoal_contract.transfer import TransferManifest


class SharedBlobs:
    """The verified bytes of one process; methods may be called from any thread.

    Args:
        folder: Where whole files lie, for what reads a file by its path. It is this process's alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._chunks: dict[str, bytes] = {}
        self._chunks_of: dict[str, set[str]] = {}
        self._wholes: dict[tuple[str, ...], str] = {}
        self._users: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True)

    def chunk(self, manifest: TransferManifest, index: int, data: bytes) -> bytes | None:
        """Return the one copy of a chunk, if `data` is the one that the manifest lists; else None."""
        listed = manifest.chunks[index]
        known = self._chunks.get(listed)
        if known is not None:
            return known if known == data else None
        if sha256_hex(data) != listed:
            return None
        with self._lock:
            self._chunks_of.setdefault(manifest.sha256, set()).add(listed)
            return self._chunks.setdefault(listed, data)

    def whole(self, chunks: tuple[str, ...], parts: Sequence[bytes]) -> str:
        """Return the SHA-256 of a file of these verified chunks.

        Args:
            chunks: Their hashes.
            parts: The chunks.
        """
        found = self._wholes.get(chunks)
        if found is None:
            digest = hashlib.sha256()
            for part in parts:
                digest.update(part)
            found = self._wholes[chunks] = digest.hexdigest()
        return found

    def path(self, sha256: str) -> Path:
        """Where a whole file lies, while a disk has it."""
        return self.folder / sha256

    def take(self, sha256: str, parts: Sequence[bytes]) -> None:
        """Count one more disk that has a file; its verified bytes are written once."""
        with self._lock:
            self._users[sha256] += 1
            if self._users[sha256] == 1:
                self.path(sha256).write_bytes(b"".join(parts))

    def drop(self, sha256: str) -> None:
        """Count one disk less; what no disk has any more is deleted."""
        with self._lock:
            self._users[sha256] -= 1
            if self._users[sha256] == 0:
                del self._users[sha256]
                self.path(sha256).unlink(missing_ok=True)
                for one in self._chunks_of.pop(sha256, ()):
                    self._chunks.pop(one, None)
