"""What a source of rows is: a few fields that say where they lie, and how to read them, some at a time.

A source is data, from a pipeline file. Its kinds are in `sources`; what is done with its rows is for `snapshots`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from shoal_compression.values import Value
from shoal_training.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_BATCH_ROWS = 65_536
MAX_REFUSED_ROWS = 10_000


@dataclass(frozen=True)
class RefusedRow:
    """A row, or a whole file, that could not be read; the others were.

    Attributes:
        source: The file, query or address.
        row: Its number in there, counted from 1; None: all of it.
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
    """

    folder: Path
    progress: Progress = silent
    batch_rows: int = DEFAULT_BATCH_ROWS
    is_strict: bool = True
    refused: list[RefusedRow] = field(default_factory=list)
    refused_count: int = 0


class Source(Value, ABC):
    """Where rows lie. Subclasses name their `kind`, declare fields, and read."""

    kind: ClassVar[str]
    """By which a pipeline file names it."""

    name: str = Field(default="", max_length=128)
    """For lineage and errors; what it reads without."""

    @abstractmethod
    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """Yield the rows, at most `reading.batch_rows` at a time; all tables have the schema of the first.

        A file that is damaged in its middle yields what stands before, and is refused from there on.

        Raises:
            DataError: There is nothing to read, a schema changes between files, or, if strict, a row is refused; file
                and row are named.
        """

    @abstractmethod
    def fingerprint(self, reading: Reading) -> str | None:
        """Return a hash that changes with the rows, without reading all of them; None: only reading tells.

        Raises:
            DataError: There is nothing to read.
        """

    def described(self) -> dict[str, Any]:
        """Return the fields for lineage, without secrets."""
        return {"kind": self.kind, **self.model_dump(mode="json")}
