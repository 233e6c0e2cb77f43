"""JSON: an object a line, or a list of objects; read some at a time however large the file is."""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Final

from shoal_training.ingestion.formats.form import FileReading, Form
from shoal_training.ingestion.formats.whole_lines import WholeLines
from shoal_training.ingestion.records import RecordTables, Row, inferred
from shoal_training.ingestion.schemas import widened

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_CHARACTERS: Final = 1 << 20
_MAX_OBJECT_CHARACTERS: Final = 64 << 20


class JsonForm(Form):
    """See the module."""

    def schema_of(self, file: IO[bytes], about: FileReading) -> "pa.Schema":
        """See `Form`."""
        import pyarrow as pa

        found, rows = pa.schema([]), _Rows(file, about, is_quiet=True)
        for batch in RecordTables(about.path, about.reading, consumed=rows.consumed).batches(rows):
            found = widened(found, inferred([values for _, values in batch], about.declared))
        return found

    def tables(self, file: IO[bytes], about: FileReading) -> Iterator["pa.Table"]:
        """See `Form`."""
        rows = _Rows(file, about)
        made = RecordTables(about.path, about.reading, about.known, about.declared, rows.consumed)
        batches = made.batches(rows)
        first = next(batches, [])
        if about.known_path and (told := made.misfit(first, needs_all=True)):
            about.refuse(None, about.changed(told))
            return
        for batch in chain([first] if first else [], batches):
            table = made.table(batch)
            if len(table):
                yield table
        rows.refuse_rest()


class _Rows(Iterator[Row]):
    """The objects of one file with their numbers; lines that are none are refused, and what follows damage."""

    def __init__(self, file: IO[bytes], about: FileReading, *, is_quiet: bool = False) -> None:
        self._about, self._is_quiet = about, is_quiet
        self._whole = WholeLines(file)
        self._buffered = BufferedReader(self._whole, _BLOCK_CHARACTERS)
        self._number = 0
        self._damage = ""
        start = self._buffered.peek(64)[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
        self._values = self._listed() if start.startswith(b"[") else self._lines()

    def __next__(self) -> Row:
        for found in self._values:
            self._number += 1
            if isinstance(found, dict):
                return self._number, found
            self._refuse(f"{str(found)[:80]!r} found, an object expected; mend the row")
        raise StopIteration

    def consumed(self) -> int:
        """Return how many bytes were read."""
        return self._whole.bytes_given

    def refuse_rest(self) -> None:
        """Refuse what follows the damage, if there is any."""
        if damage := self._damage or self._whole.damage:
            self._number += 1
            self._refuse(damage)

    def _refuse(self, reason: str) -> None:
        if not self._is_quiet:
            self._about.refuse(self._number, reason)

    def _lines(self) -> Iterator[Any]:
        for line in self._buffered:
            text = line.removeprefix(b"\xef\xbb\xbf").strip() if self._number == 0 else line.strip()
            if not text:
                continue
            try:
                yield json.loads(text)
            except (ValueError, RecursionError) as error:
                yield f"{text[:60].decode(errors='backslashreplace')} ({error})"

    def _listed(self) -> Iterator[Any]:
        """Yield the members of one long list; after damage nothing says where the next one begins."""
        try:
            yield from _Members(self._buffered)
        except (ValueError, RecursionError) as error:
            self._damage = f"{error}; the rows from here on are damaged, write it again"


class _Members:
    """The members of a list in a stream of JSON, one by one.

    Raises:
        ValueError: It is no list, or does not end.
    """

    def __init__(self, file: "BufferedReader[WholeLines]") -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._text, self._at = "", 0

    def __iter__(self) -> Iterator[Any]:
        self._take("[")
        if self._mark() == "]":
            return
        while True:
            yield self._value()
            if self._take(",]") == "]":
                return

    def _take(self, expected: str) -> str:
        mark = self._mark()
        if mark not in tuple(expected):
            raise ValueError(f"{self._text[self._at : self._at + 40]!r} found, {' or '.join(expected)} expected")
        self._at += 1
        return mark

    def _mark(self) -> str:
        """Return the next character that is no white space, without taking it; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _value(self) -> Any:  # noqa: ANN401 - what JSON has
        self._mark()
        while True:
            try:
                found, end = self._json.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():  # a number at the very end may go on
                    self._at = end
                    return found
            except ValueError:
                if len(self._text) - self._at > _MAX_OBJECT_CHARACTERS or not self._more():
                    raise

    def _more(self) -> bool:
        block = self._file.read(_BLOCK_CHARACTERS)
        self._text, self._at = self._text[self._at :] + self._utf8.decode(block, final=not block), 0
        return bool(block)
