"""What a source of rows is: a few fields that say where they lie, and how to read them, some at a time.

A source is data, from a pipeline file. Its kinds are in `sources`; what is done with its rows is for `snapshots`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shoal_compression.values import Record, Value
from shoal_training.errors import DataError
from shoal_training.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_BATCH_ROWS = 65_536
MAX_BATCH_BYTES = 16 << 20
"""Of rows whose size is known before they are read: pictures and arrays."""
MAX_REFUSED_ROWS = 10_000

SchemaChange = Literal["strict", "widen"]
"""What is done where files or sources have other columns than those before: an error that names both; or all columns
of all of them, whole numbers becoming fractions and missing ones null."""


class RefusedRow(Record):
    """A row, or a whole file, that could not be read; the others were.

    Attributes:
        source: The file, query or address.
        row: Its number in there, counted from 1, without a header; None: all of it.
        reason: What was found, and what was expected.
    """

    source: str
    row: int | None
    reason: str


@dataclass
class Reading:
    """What goes with reading one source.

    Attributes:
        folder: That paths are relative to: the pipeline file's.
        progress: Told after each file, page or batch.
        batch_rows: Most rows of a table that is yielded.
        refused: Rows that were left out, the first `MAX_REFUSED_ROWS` of them; counted in `refused_count`.
        is_strict: Whether a row that can not be read ends the reading, by a DataError, instead.
        schema_change: What is done where columns change between files and sources.
        pause: Waits for as many seconds, between attempts at an API.
        origin: The file that the table which was yielded last is from; empty: the source has no files.
    """

    folder: Path
    progress: Progress = silent
    batch_rows: int = DEFAULT_BATCH_ROWS
    is_strict: bool = True
    refused: list[RefusedRow] = field(default_factory=list)
    refused_count: int = 0
    schema_change: SchemaChange = "strict"
    pause: Callable[[float], None] = time.sleep
    origin: str = ""

    def refuse(self, source: str, row: int | None, reason: str, count: int = 1) -> None:
        """Leave a row out, or a file, and count it.

        Args:
            source: The file, query or address.
            row: Its number, from 1; None: all of it.
            reason: What was found, what was expected and what to do.
            count: How many rows from `row` on, where they are known.

        Raises:
            DataError: Reading is strict.
        """
        if self.is_strict:
            where = source if row is None else f"{source}, row {row}"
            raise DataError(f"reading {where}: {reason}")
        self.refused_count += count
        if len(self.refused) < MAX_REFUSED_ROWS:
            self.refused.append(RefusedRow(source=source, row=row, reason=reason))


class Source(Value, ABC):
    """Where rows lie. Subclasses name their `kind`, declare fields, and read."""

    kind: ClassVar[str]
    """By which a pipeline file names it."""

    name: str = Field(default="", max_length=128)
    """For lineage and errors; what it reads without."""

    @property
    def label(self) -> str:
        """What errors, progress and lineage call it."""
        return self.name or self.kind

    @abstractmethod
    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """Yield the rows, at most `reading.batch_rows` at a time; all tables have the schema of the first.

        A file that is damaged in its middle yields what stands before, and is refused from there on.

        Raises:
            DataError: There is nothing to read, a schema changes between files, or, if strict, a row is refused; file
                and row are named.
        """

    def schema_of(self, reading: Reading) -> "pa.Schema | None":  # noqa: ARG002 - those that know look into it
        """Return the schema that `tables` will have, where it is known without reading; None: only reading tells.

        Raises:
            DataError: As for `tables`.
        """
        return None

    @abstractmethod
    def fingerprint(self, reading: Reading) -> str | None:
        """Return a hash that changes with the rows, without reading all of them; None: only reading tells.

        Raises:
            DataError: There is nothing to read.
        """

    def described(self) -> dict[str, Any]:
        """Return the fields for lineage, without secrets."""
        return {"kind": self.kind, **self.model_dump(mode="json")}
