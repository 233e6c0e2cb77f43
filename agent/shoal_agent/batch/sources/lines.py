"""Lines of a text file, with the place behind each, so that reading can go on from any of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from shoal_agent.batch.errors import BatchError

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_MARK: Final = b"\xef\xbb\xbf"


class Lines:
    """Lines of an open file. `offset` is the place behind the last one; `is_damaged` whether one was no UTF-8.

    Args:
        file: Open for reading bytes, at the place to begin.
        path: Its name, for errors.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self.offset = file.tell()
        self.is_damaged = False

    def __iter__(self) -> Iterator[str]:
        """Yield each line with its end, as text; bytes that are none are replaced, and `is_damaged` is set.

        Raises:
            BatchError: A line is endless, or the file can not be read.
        """
        while line := self._read():
            if self.offset == 0:
                line = self._without_mark(line)
            self.offset = self._file.tell()
            try:
                yield line.decode()
            except UnicodeDecodeError:
                self.is_damaged = True
                yield line.decode(errors="replace")

    def _read(self) -> bytes:
        try:
            line = self._file.readline(MAX_LINE_BYTES)
        except OSError as error:
            raise BatchError(f"reading {self._path} at byte {self.offset}: {error}") from error
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            message = f"reading {self._path} at byte {self.offset}: a line of more than {MAX_LINE_BYTES} bytes"
            raise BatchError(message, "see whether it is a text file; nothing was lost")
        return line

    @staticmethod
    def _without_mark(line: bytes) -> bytes:
        return line.removeprefix(_MARK)
