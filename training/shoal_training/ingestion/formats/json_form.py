"""JSON: an object a line, or a list of objects; read some at a time however large the file is."""

import json
from collections.abc import Iterator, Sequence
from io import BufferedReader, BytesIO
from typing import IO, TYPE_CHECKING, Any, Final

from shoal_training.ingestion.formats.form import FileReading, Form
from shoal_training.ingestion.formats.json_members import Members
from shoal_training.ingestion.formats.whole_lines import WholeLines
from shoal_training.ingestion.records import MAX_TEXT_BYTES, RecordTables, Row, inferred
from shoal_training.ingestion.schemas import widened

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES: Final = 1 << 20
_MARK: Final = b"\xef\xbb\xbf"
"""Of UTF-8, which some programs begin a file with."""


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
        if first:
            yield from _some(made.table(first))
        for table in map(made.table, batches) if rows.is_list else rows.tables(made):
            yield from _some(table)
        rows.refuse_rest()


def _some(table: "pa.Table") -> "Iterator[pa.Table]":
    if len(table):
        yield table


class _Rows(Iterator[Row]):
    """The objects of one file with their numbers; lines that are none are refused, and what follows damage."""

    def __init__(self, file: IO[bytes], about: FileReading, *, is_quiet: bool = False) -> None:
        self._about, self._is_quiet = about, is_quiet
        self._whole = WholeLines(file)
        self._buffered = BufferedReader(self._whole, _BLOCK_BYTES)
        self._number = 0
        self._damage = ""
        start = self._buffered.peek(64)[:64].removeprefix(_MARK).lstrip()
        self.is_list = start.startswith(b"[")
        self._values = self._members() if self.is_list else map(_value, self._lines())

    def __next__(self) -> Row:
        for found in self._values:
            if row := self._row(found):
                return row
        raise StopIteration

    def tables(self, made: RecordTables) -> Iterator["pa.Table"]:
        """Yield the lines that are left as tables: by Arrow's own parser, and where that refuses some, one by one."""
        while lines := self._buffered.readlines(MAX_TEXT_BYTES):
            filled = [one for one in lines if not one.isspace()]
            for start in range(0, len(filled), made.reading.batch_rows):
                some = filled[start : start + made.reading.batch_rows]
                table = _parsed(some, made.schema)
                if table is None:
                    yield made.table([row for one in some if (row := self._row(_value(one)))])
                else:
                    self._number += len(some)
                    yield table

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

    def _row(self, found: Any) -> Row | None:  # noqa: ANN401 - what JSON has
        self._number += 1
        if isinstance(found, dict):
            return self._number, found
        self._refuse(f"{str(found)[:80]!r} found, an object expected; mend the row")
        return None

    def _lines(self) -> Iterator[bytes]:
        is_first = True
        for line in self._buffered:
            text = line.removeprefix(_MARK) if is_first else line
            is_first = False
            if not text.isspace():
                yield text

    def _members(self) -> Iterator[Any]:
        """Yield the members of one long list; after damage nothing says where the next one begins."""
        try:
            yield from Members(self._buffered)
        except (ValueError, RecursionError) as error:
            self._damage = f"{error}; the rows from here on are damaged, write it again"


def _value(line: bytes) -> Any:  # noqa: ANN401 - what JSON has
    """Return a line's value, or what is wrong with it as text."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"{line.strip()[:60].decode(errors='backslashreplace')} ({error})"


def _parsed(lines: Sequence[bytes], schema: "pa.Schema | None") -> "pa.Table | None":
    """Return lines as a table by Arrow's parser, which is six times as fast as Python's; None: it can not."""
    import pyarrow as pa
    import pyarrow.json as pj

    text = b"".join(lines)
    read = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
    try:
        found = pj.read_json(
            BytesIO(text), read, pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
        )
    except pa.ArrowException:
        return None
    return found if len(found) == len(lines) and found.schema.equals(schema) else None
