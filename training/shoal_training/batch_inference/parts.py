"""Parts of a run: rows of the source, kept on disk before any is answered, so that a killed run finds the same ones.

A source is read once. Each part is a Parquet file, and knows which file or query each of its rows came from.
"""

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shoal_compression.output_folder import says_unwritable
from shoal_compression.values import Record
from shoal_training.batch_inference.whole_file import write_whole
from shoal_training.errors import DataError
from shoal_training.ingestion.row_sizes import GROUP_BYTES, row_groups
from shoal_training.ingestion.schemas import conform, difference, plain
from shoal_training.ingestion.source import Reading, Source

if TYPE_CHECKING:
    import pyarrow as pa

PLAN_FILE: Final = "plan.json"


class Origin(Record):
    """Rows of a part that follow each other in one file, query or stream.

    Attributes:
        source: Its name.
        first: The number of the first of them there, from 1, of those that could be read.
        rows: How many.
    """

    source: str
    first: int
    rows: int


class Part(Record):
    """Rows that are answered, and written, as one.

    Attributes:
        number: From 1.
        rows: How many.
        origins: Where they came from, in their order.
    """

    number: int
    rows: int
    origins: tuple[Origin, ...]

    def place(self, row: int) -> str:
        """Return where a row came from, for errors: `readings.csv, row 17`.

        Args:
            row: Its place in the part, from 0.
        """
        before = 0
        for one in self.origins:
            if row < before + one.rows:
                return f"{one.source}, row {one.first + row - before}"
            before += one.rows
        return f"part {self.number}, row {row + 1}"

    def __str__(self) -> str:
        """Return it as errors name it."""
        last = self.origins[-1]
        return f"part {self.number} ({self.place(0)} to {last.source}, row {last.first + last.rows - 1})"


class Plan(Record):
    """All parts of a run.

    Attributes:
        parts: In order.
        rows: Of all.
        refused_rows: That could not be read, and were left out.
        source: What they were read from, with its fingerprint.
    """

    parts: tuple[Part, ...]
    rows: int
    refused_rows: int
    source: dict[str, Any]


@dataclass(frozen=True)
class PartFolder:
    """A plan and its parts on disk."""

    folder: Path
    plan: Plan

    def table(self, part: Part) -> "pa.Table":
        """Read a part's rows."""
        import pyarrow.parquet as pq

        return pq.read_table(_path(self.folder, part.number), use_threads=False)


def planned(folder: Path) -> PartFolder | None:
    """Return what `plan_parts` has finished in a folder; None: it has not.

    Raises:
        DataError: What lies there is no plan.
    """
    path = folder / PLAN_FILE
    if not path.is_file():
        return None
    try:
        return PartFolder(folder, Plan.model_validate_json(path.read_bytes()))
    except ValueError as error:
        raise DataError(f"going on with {folder}: {path} is no plan: {error}; begin a new run") from error


def plan_parts(
    source: Source,
    reading: Reading,
    folder: Path,
    part_rows: int,
    check: Callable[[], None] = lambda: None,
    read: Callable[[], None] = lambda: None,
) -> PartFolder:
    """Read a source into parts. What a killed process has left of an earlier attempt is removed.

    Args:
        source: That is read.
        reading: How.
        folder: Of the parts; made here.
        part_rows: Most rows of one; fewer of wide ones.
        check: Called before each; raises where reading is to end.
        read: Called once all rows are read, before that is noted.

    Raises:
        DataError: There is no row, or what `Source.tables` raises.
        OutputError: The folder can not be written, or the disk is full.
    """
    import pyarrow.parquet as pq

    shutil.rmtree(folder, ignore_errors=True)
    with says_unwritable(folder):
        folder.mkdir(parents=True)
    traced = _Traced(source, reading)
    parts: list[Part] = []
    before = source.fingerprint(reading)
    for table in row_groups(traced.tables(), part_rows, GROUP_BYTES):
        check()
        part = Part(number=len(parts) + 1, rows=len(table), origins=traced.taken(len(table)))
        with says_unwritable(folder):
            pq.write_table(table, _path(folder, part.number), compression="zstd")
        parts.append(part)
    if not parts:
        raise DataError(f"reading {source.label}: there is no row; name a source that has some")
    plan = Plan(
        parts=tuple(parts),
        rows=sum(part.rows for part in parts),
        refused_rows=reading.refused_count,
        source={**source.described(), "fingerprint": before},
    )
    read()
    with says_unwritable(folder):
        write_whole(folder / PLAN_FILE, json.dumps(plan.model_dump(mode="json")).encode())
    return PartFolder(folder, plan)


class _Traced:
    """A source's tables, with a note of where their rows came from."""

    def __init__(self, source: Source, reading: Reading) -> None:
        self._source, self._reading = source, reading
        self._spans: deque[Origin] = deque()
        self._numbers: dict[str, int] = {}

    def tables(self) -> Iterator["pa.Table"]:
        """Yield the rows in the schema of the first ones."""
        schema: pa.Schema | None = None
        for table in self._source.tables(self._reading):
            if schema is None:
                schema = plain(table.schema)
            elif told := difference(schema, plain(table.schema)):
                raise DataError(f"reading {self._source.label}: its columns change: {told}; give all rows the same")
            if len(table):
                self._note(len(table))
                yield conform(table, schema)

    def taken(self, rows: int) -> tuple[Origin, ...]:
        """Return where the next rows came from."""
        found = []
        while rows:
            span = self._spans.popleft()
            if span.rows > rows:
                rest = span.model_copy(update={"first": span.first + rows, "rows": span.rows - rows})
                self._spans.appendleft(rest)
                span = span.model_copy(update={"rows": rows})
            found.append(span)
            rows -= span.rows
        return tuple(found)

    def _note(self, rows: int) -> None:
        name = self._reading.origin or self._source.label
        first = self._numbers.get(name, 0) + 1
        self._numbers[name] = first + rows - 1
        last = self._spans[-1] if self._spans else None
        if last is not None and last.source == name:
            self._spans[-1] = last.model_copy(update={"rows": last.rows + rows})
        else:
            self._spans.append(Origin(source=name, first=first, rows=rows))


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.parquet"
