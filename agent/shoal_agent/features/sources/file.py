"""Lines that are appended to a file, like `tail -F`: over rotation, truncation and restarts.

What is truncated and grows beyond its former size between two looks is not told from what has only grown.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from shoal_agent.features.errors import UnreachableError
from shoal_agent.features.sources.source import Inbox
from shoal_numerics.features.events import Arrival

_LOOK_S: Final = 0.1
_PART_BYTES: Final = 64 * 1024
_MAX_LINE_BYTES: Final = 256 * 1024


class GrowingFile:
    """Follows a file, which need not be there yet.

    Args:
        path: The file.
        place: Where to go on: what `Arrival.place` was of the last lines that were computed.
        clock_ns: The time of what comes.
        is_read_from_start: Whether what stands in the file at the first look counts.
        look_s: How often it is looked at.
    """

    def __init__(
        self,
        path: Path,
        place: str,
        clock_ns: Callable[[], int],
        *,
        is_read_from_start: bool = False,
        look_s: float = _LOOK_S,
    ) -> None:
        self._path = path
        # A place in another file, which the pipeline had before, says nothing of this one.
        self._place = place if place.startswith(f"{path}:") else ""
        self._clock_ns = clock_ns
        self._look_s = look_s
        self._skips_first = not is_read_from_start
        self._descriptor: int | None = None
        self._offset = 0
        self._rest = b""

    async def run(self, inbox: Inbox, on_ready: Callable[[], None]) -> None:
        """Put new lines into `inbox`; a file can wait, so none is dropped for those that follow.

        Raises:
            UnreachableError: The file can not be read.
        """
        try:
            while True:
                try:
                    arrival = await anyio.to_thread.run_sync(self.read)
                except OSError as error:
                    raise UnreachableError(f"reading {self._path}: {error.strerror}") from error
                on_ready()
                if arrival is not None:
                    inbox.put([arrival])
                if arrival is None or inbox.is_half_full:
                    await anyio.sleep(self._look_s)
        finally:
            self.close()

    def read(self) -> Arrival | None:
        """Return the next whole lines, None where there are none yet."""
        if self._descriptor is None and not self._open():
            return None
        data = self._read_on()
        if not data:
            if self._has_shrunk():
                self._seek(0)
            if not self._has_been_replaced():
                return None
            data = self._read_on()  # written after the last look, before it was replaced
            if not data:
                return self._take_next()
        lines, newline, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest if len(rest) <= _MAX_LINE_BYTES else b""  # an endless line is no event
        return self._arrival(lines) if newline else None

    def close(self) -> None:
        """Close the file; a later `read` goes on behind the last whole line."""
        if self._descriptor is not None:
            self._place = self._here()
            os.close(self._descriptor)
            self._descriptor = None

    def _arrival(self, lines: bytes) -> Arrival:
        return Arrival(lines, self._clock_ns(), place=self._here())

    def _read_on(self) -> bytes:
        data = os.read(self._descriptor, _PART_BYTES) if self._descriptor is not None else b""
        self._offset += len(data)
        return data

    def _open(self) -> bool:
        """Open the file where it is to be read from; return whether it is there."""
        try:
            descriptor = self._descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            self._skips_first = False  # what comes later is new from its beginning
            return False
        found = os.fstat(descriptor)
        identity, _, offset = self._place.rpartition(":")
        if identity == f"{self._path}:{found.st_dev}:{found.st_ino}" and int(offset) <= found.st_size:
            self._seek(int(offset))
        else:
            self._seek(found.st_size if self._skips_first and not self._place else 0)
        self._skips_first = False
        return True

    def _has_shrunk(self) -> bool:
        return self._descriptor is not None and os.fstat(self._descriptor).st_size < self._offset

    def _has_been_replaced(self) -> bool:
        """Whether another file has its name now; not yet if there is none."""
        if self._descriptor is None:
            return False
        mine = os.fstat(self._descriptor)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino)

    def _take_next(self) -> Arrival | None:
        """Turn to the file that has come in its place; return a last line that had no end."""
        ending = self._rest
        self.close()
        self._place = f"{self._path}:replaced"
        self._open()
        return self._arrival(ending) if ending else None

    def _seek(self, offset: int) -> None:
        if self._descriptor is not None:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
        self._offset, self._rest = offset, b""

    def _here(self) -> str:
        if self._descriptor is None:
            return self._place
        found = os.fstat(self._descriptor)
        return f"{self._path}:{found.st_dev}:{found.st_ino}:{self._offset - len(self._rest)}"
