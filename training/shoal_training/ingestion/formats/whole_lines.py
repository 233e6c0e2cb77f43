"""A stream that ends with its last whole line where it is damaged: a cut compressed file gives no half numbers."""

import io
import lzma
import zlib
from typing import IO, Final

from shoal_training.ingestion.formats.form import is_damage

_BLOCK_BYTES: Final = 1 << 20
_MAX_LINE_BYTES: Final = 64 << 20
_DAMAGE: Final = (EOFError, OSError, zlib.error, lzma.LZMAError)


class WholeLines(io.RawIOBase):
    """Reads another stream.

    Attributes:
        damage: Why it ended before its end; empty while it did not.
        bytes_given: How far it is.
        quotes_given: How many quotation marks there were.
        ends_a_line: Whether the last byte that was given does.

    Raises:
        OSError: The other one can not be reached.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.damage = ""
        self.bytes_given = self.quotes_given = 0
        self.ends_a_line = True
        # What packed files give at once, before a cut: a whole block of it would be lost with the error.
        self._more = getattr(file, "read1", file.read)
        self._held, self._at_end = b"", False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Read into a buffer; 0 at the end."""
        while not self._ready() and not self._at_end:
            self._fill()
        ready = self._held if self._at_end else self._held[: self._ready()]
        given = ready[: len(buffer)]
        buffer[: len(given)] = given
        self._held = self._held[len(given) :]
        self.bytes_given += len(given)
        self.quotes_given += given.count(b'"')
        self.ends_a_line = given.endswith(b"\n") if given else self.ends_a_line
        return len(given)

    def _ready(self) -> int:
        return self._held.rfind(b"\n") + 1

    def _fill(self) -> None:
        try:
            more = self._more(_BLOCK_BYTES)
        except _DAMAGE as error:
            if not is_damage(error):
                raise
            self._end(str(error) or type(error).__name__)
            return
        if len(self._held) + len(more) > _MAX_LINE_BYTES:
            self._end(f"a line has more than {_MAX_LINE_BYTES >> 20} MiB")
            return
        self._held += more
        self._at_end = not more

    def _end(self, damage: str) -> None:
        self.damage = f"{damage}; the rows from here on are damaged, write it again"
        self._held, self._at_end = self._held[: self._ready()], True
