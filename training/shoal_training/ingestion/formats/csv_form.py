"""CSV: cells are read as text and become what most of a column's first ones are; a cell that is none is refused.

Types are found by Shoal, not by Arrow's reader: that one finds them anew in each file, and ends at the first misfit.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from shoal_training.errors import DataError
from shoal_training.ingestion.formats.form import FileReading, Form
from shoal_training.ingestion.formats.whole_lines import WholeLines
from shoal_training.ingestion.records import MIN_FITTING_RATIO
from shoal_training.ingestion.schemas import doubled, widened
from shoal_training.ingestion.typed_text import share_of, text_types, typed

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES: Final = 1 << 20


class CsvForm(Form):
    """See the module."""

    def schema_of(self, file: IO[bytes], about: FileReading) -> "pa.Schema":
        """See `Form`; types are those of all rows, not of the first."""
        found: pa.Schema | None = None
        text = _Text(file, about)
        for batch in text.batches():
            types = text_types(batch, about.declared)
            found = types if found is None else _widened_text(found, types)
        return text.empty() if found is None else found

    def tables(self, file: IO[bytes], about: FileReading) -> Iterator["pa.Table"]:
        """See `Form`."""
        text = _Text(file, about)
        if told := text.problem():
            about.refuse(None, told)
            return
        batches = text.batches()
        first = next(batches, None)
        text.refuse_skipped()
        if first is None:
            text.refuse_rest()
            return
        schema = _target(first, about)
        if schema is None:
            return
        for batch in chain([first], batches):
            yield from text.typed(batch, schema)
            text.refuse_skipped()
        text.refuse_rest()


def _target(first: "pa.Table", about: FileReading) -> "pa.Schema | None":
    """Return the types that a file is read with; None: it is refused for its columns."""
    import pyarrow as pa

    found = text_types(first, about.declared)
    if about.known is None or about.is_widened:
        return about.known or found
    for one in about.known:  # the types that are known stand, if most cells are of them
        at = found.get_field_index(one.name)
        if at >= 0 and share_of(first[one.name], one.type) >= MIN_FITTING_RATIO:
            found = found.set(at, pa.field(one.name, one.type))
    return about.target(found)


def _widened_text(before: "pa.Schema", found: "pa.Schema") -> "pa.Schema":
    """Return the types that hold the cells of both; text holds everything."""
    import pyarrow as pa

    def either(name: str) -> "pa.DataType":
        try:
            return widened(pa.schema([before.field(name)]), pa.schema([found.field(name)])).field(name).type
        except DataError:
            return pa.string()

    return pa.schema([(name, either(name)) for name in before.names])


class _Text:
    """The rows of one file as text, with the numbers of those that could not be parted into cells."""

    def __init__(self, file: IO[bytes], about: FileReading) -> None:
        self._about = about
        self._names: list[str] = []
        self._lines = WholeLines(file)
        self._file = io.BufferedReader(self._lines, _BLOCK_BYTES)
        head = self._file.peek().removeprefix(codecs.BOM_UTF8).decode(errors="replace")
        with suppress(csv.Error):
            self._names = next(csv.reader(io.StringIO(head), delimiter=about.delimiter), [])
        self._skipped: list[tuple[int, str]] = []
        self._told = self._good = 0
        self._damage = ""

    def problem(self) -> str:
        """Say what is wrong with the header; empty: nothing."""
        if not any(self._names):
            return "there is no header, expected the columns' names in the first line"
        twice = doubled(self._names)
        return f"it has the column {twice} more than once; give each a name of its own" if twice else ""

    def empty(self) -> "pa.Schema":
        """Return the schema of no rows."""
        import pyarrow as pa

        return pa.schema([(name, self._about.declared.get(name) or pa.null()) for name in self._names])

    def batches(self) -> Iterator["pa.Table"]:
        """Yield the cells as binary text, null where they say so."""
        import pyarrow as pa
        import pyarrow.csv as pc

        parse = pc.ParseOptions(
            delimiter=self._about.delimiter, newlines_in_values=True, invalid_row_handler=self._skip
        )
        convert = pc.ConvertOptions(
            column_types=dict.fromkeys(self._names, pa.binary()),
            null_values=list(self._about.null_values),
            strings_can_be_null=True,
        )
        read = pc.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
        try:
            held: pa.Table | None = None  # until it is known that its last row is whole
            for batch in pc.open_csv(self._file, read, parse, convert):
                for start in range(0, len(batch), self._about.reading.batch_rows):
                    if held is not None:
                        yield held
                    held = pa.Table.from_batches([batch.slice(start, self._about.reading.batch_rows)])
            if held is not None:
                yield self._without_open_cell(held)
        except pa.ArrowException as error:
            self._damage = f"{error}; the rows from here on are damaged, write it again"

    def _without_open_cell(self, last: "pa.Table") -> "pa.Table":
        """Return the last rows less one whose quotation mark is never closed: Arrow gives it all that follows."""
        cell: bytes | None = last.columns[-1][-1].as_py() if len(last) else None
        if cell is None or not self._lines.quotes_given % 2 or (self._lines.ends_a_line and b"\n" not in cell):
            return last
        self._damage = "its quotation mark is not closed before the file ends; mend it, the rows after it are in it"
        return last.slice(0, len(last) - 1)

    def typed(self, batch: "pa.Table", schema: "pa.Schema") -> Iterator["pa.Table"]:
        """Yield a batch with its types, and refuse the rows that do not have them."""
        for name in schema.names:
            if name not in batch.column_names:  # of other files, where all columns are wanted
                import pyarrow as pa

                batch = batch.append_column(name, pa.nulls(len(batch), pa.binary()))
        good, bad = typed(batch, schema)
        for cell in bad:
            self._about.refuse(self._number(self._good + cell.at), cell.reason)
        self._good += len(batch)
        if len(good):
            yield good

    def refuse_skipped(self) -> None:
        """Refuse the rows that had another number of cells; Arrow may have looked further ahead than it has given."""
        for number, reason in self._skipped[self._told :]:
            self._told += 1
            self._about.refuse(number, reason)

    def refuse_rest(self) -> None:
        """Refuse what follows the damage, if there is any."""
        self.refuse_skipped()
        if damage := self._damage or self._lines.damage:
            self._about.refuse(self._number(self._good), damage)

    def _skip(self, row: Any) -> str:  # noqa: ANN401 - Arrow's
        number = self._good + len(self._skipped) + 1 if row.number is None else row.number - 1  # without the header
        found = f"{row.actual_columns} cells found, {row.expected_columns} expected: {row.text[:80]!r}"
        self._skipped.append((number, f"{found}; mend the row"))
        return "skip"

    def _number(self, good: int) -> int:
        """Return the number in the file of the row that has so many good ones before it."""
        before = np.array([number - at for at, (number, _) in enumerate(self._skipped)], dtype=np.int64)
        return good + 1 + int(np.searchsorted(before, good + 1, side="right"))
