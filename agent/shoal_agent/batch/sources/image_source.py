"""Images, a file each: those that are named, or all in a folder and below it, in the order of their paths."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from shoal_agent.batch.errors import BatchError
from shoal_agent.batch.sources.source import Chunk, Position, to_objects

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024 * 1024


class ImageSource:
    """Several images; see `Source`. Their names are held in memory, their bytes a chunk at a time.

    Args:
        name: As a person named them.
        paths: The files, in order.
        column: The input that they are for.
    """

    def __init__(self, name: str, paths: Sequence[Path], column: str) -> None:
        self._paths = paths
        self._column = column
        self.name = name
        self.size_bytes = 0
        digest = hashlib.sha256()
        for path in paths:
            try:
                found = path.stat()
            except OSError as error:
                raise BatchError(
                    f"looking at the image {path}: {error.strerror}", "name files that are there"
                ) from error
            self.size_bytes += found.st_size
            digest.update(f"{path.absolute()}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
        self.identity: dict[str, str | int] = {"path": name, "files": len(paths), "sha256": digest.hexdigest()}

    def columns(self) -> tuple[str, ...]:
        """Return the one column: the input that is made of images."""
        return (self._column,)

    def chunks(self, columns: Collection[str], size: int, after: Position | None) -> Iterator[Chunk]:
        """Read files from a place on; one that can not be read is bad."""
        row = after["row"] if after else 0
        while found := self._take(row, size):
            wanted = self._column in columns
            good = [(number, path, data) for number, path, data, _ in found if data is not None]
            values = {self._column: to_objects([data for _, _, data in good])} if wanted else {}
            bad = {number: reason for number, _, data, reason in found if data is None}
            bad_files = {number: str(path) for number, path, data, _ in found if data is None}
            numbers = np.array([number for number, _, _ in good], dtype=np.int64)
            row += len(found)
            done_bytes = self.size_bytes * row // len(self._paths)
            files = to_objects([str(path) for _, path, _ in good])
            yield Chunk(values, numbers, bad, {"row": row}, done_bytes, files, bad_files)

    def _take(self, row: int, size: int) -> list[tuple[int, Path, bytes | None, str]]:
        """Read the next files, no more than fit into memory: number, path, bytes or None, and why there are none."""
        found: list[tuple[int, Path, bytes | None, str]] = []
        taken = 0
        for number, path in enumerate(self._paths[row : row + size], row + 1):
            try:
                data = _read(path)
            except OSError as error:
                found.append((number, path, None, f"it can not be read: {error}"))
                continue
            found.append((number, path, data, ""))
            taken += len(data)
            if taken >= _CHUNK_BYTES:
                break
        return found


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and below it, by their paths.

    Raises:
        BatchError: There are none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise BatchError(f"looking for images in {folder}: none found", f"name a folder that holds some ({suffixes})")
    return found


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        message = f"larger than {MAX_FILE_BYTES} bytes"
        raise OSError(message)
    return data
