"""What a form of files is: one class a form, which reads an open file into tables of one schema."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from shoal_training.ingestion.column_types import arrow_types
from shoal_training.ingestion.row_sizes import byte_width
from shoal_training.ingestion.schemas import difference, doubled
from shoal_training.ingestion.source import MAX_BATCH_BYTES, Reading

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class FileReading:
    """What goes with reading one file.

    Attributes:
        path: As errors and lineage name it.
        reading: Of the source.
        delimiter: Between the cells of a CSV file.
        null_values: Cells of a CSV file that are nothing.
        columns: Declared types by name.
        known_path: The file whose schema stands; empty: of all files together, or none yet.
        known: That schema; None: this file's stands.
    """

    path: str
    reading: Reading
    delimiter: str
    null_values: tuple[str, ...]
    columns: dict[str, str]
    known_path: str = ""
    known: "pa.Schema | None" = None

    @property
    def is_widened(self) -> bool:
        """Whether the schema holds all files, and columns of it may be missing here."""
        return self.known is not None and not self.known_path

    @property
    def declared(self) -> "dict[str, pa.DataType]":
        """The declared types as Arrow's."""
        return arrow_types(self.columns)

    def refuse(self, row: int | None, reason: str, count: int = 1) -> None:
        """See `Reading`."""
        self.reading.refuse(self.path, row, reason, count)

    def target(self, found: "pa.Schema") -> "pa.Schema | None":
        """Return the schema that a file's tables get, by what it has itself; None: the file is refused for it.

        Raises:
            DataError: If strict, the file is refused.
        """
        if twice := doubled(found.names):
            self.refuse(None, f"it has {twice} more than once; give each column a name of its own")
            return None
        if self.known is None:
            return found
        if not self.is_widened and (told := difference(self.known, found)):
            self.refuse(None, self.changed(told))
            return None
        return self.known

    def changed(self, told: str) -> str:
        """Say that a file's columns are others than those of the file before."""
        return (
            f"its columns are not those of {self.known_path}: {told}; mend the file, read it as a source of its own, "
            "or say `schema: widen`"
        )

    def rows_at_once(self, schema: "pa.Schema") -> int:
        """Return how many rows to read at once: fewer of wide ones, such as pictures."""
        width = sum(byte_width(one.type) for one in schema)
        return max(1, min(self.reading.batch_rows, MAX_BATCH_BYTES // max(1, width)))


def is_damage(error: Exception) -> bool:
    """Whether an error is of a file's content, and not of reaching it: Arrow says both by OSError."""
    return not (isinstance(error, OSError) and error.errno)


class Form(ABC):
    """A form of files."""

    @abstractmethod
    def schema_of(self, file: IO[bytes], about: FileReading) -> "pa.Schema":
        """Return the columns of all of a file's rows; forms without a header of types read all of it.

        Raises:
            ValueError: The file is damaged. Arrow's errors are among them.
            OSError: It is damaged, or can not be reached.
        """

    @abstractmethod
    def tables(self, file: IO[bytes], about: FileReading) -> Iterator["pa.Table"]:
        """Yield a file's rows, at most `rows_at_once` at a time, in the schema that `FileReading.target` gives.

        Raises:
            DataError: If strict, a row or the file is refused.
            OSError: The file can not be reached.
        """
