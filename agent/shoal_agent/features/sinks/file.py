"""Results as lines of a file that begins anew when it has grown, while the former ones stay for a time."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread

from shoal_agent.durable import make_folder
from shoal_agent.features.errors import UnreachableError


class RotatedFile:
    """Appends, and moves `file` to `file.1`, that to `file.2` and so on, before it would grow beyond its bound.

    Args:
        path: The file.
        max_bytes: How large it gets, but for one call's results.
        kept: Former files that stay.
    """

    def __init__(self, path: Path, max_bytes: int, kept: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept

    async def send(self, results: Sequence[bytes]) -> None:
        """Append results.

        Raises:
            UnreachableError: The disk does not take them.
        """
        try:
            await anyio.to_thread.run_sync(self._append, b"".join(one + b"\n" for one in results))
        except OSError as error:
            message = f"writing results to {self._path}: {error.strerror}"
            raise UnreachableError(message, "free some disk space, and check the folder's owner") from error

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _append(self, data: bytes) -> None:
        make_folder(self._path.parent)
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and size + len(data) > self._max_bytes:
            self._rotate()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, data) != len(data):  # what was written of it would come again
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        if not self._kept:
            self._path.unlink()
            return
        for number in range(self._kept, 0, -1):
            source = self._numbered(number - 1) if number > 1 else self._path
            if source.exists():
                source.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
