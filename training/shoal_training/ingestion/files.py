"""Rows from files, in folders and object stores."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, TYPE_CHECKING, ClassVar, Final, Literal

from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.ingestion.column_types import ColumnTypes, arrow_types
from shoal_training.ingestion.formats.avro_form import AvroForm
from shoal_training.ingestion.formats.csv_form import CsvForm
from shoal_training.ingestion.formats.form import FileReading, Form
from shoal_training.ingestion.formats.json_form import JsonForm
from shoal_training.ingestion.formats.npz_form import NpzForm
from shoal_training.ingestion.formats.parquet_form import ParquetForm
from shoal_training.ingestion.found_files import FoundFiles, find_files, suffix_of
from shoal_training.ingestion.partitions import partition_schema, partition_values, with_partition
from shoal_training.ingestion.schemas import widened
from shoal_training.ingestion.source import Reading, Source

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["parquet", "csv", "json", "avro", "npz"]
SUFFIXES: Final[Mapping[str, Format]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".avro": "avro",
    ".npz": "npz",
}
NULL_VALUES: Final = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "#N/A")
_FORMS: Final[Mapping[Format, Form]] = {
    "parquet": ParquetForm(),
    "csv": CsvForm(),
    "json": JsonForm(),
    "avro": AvroForm(),
    "npz": NpzForm(),
}


class FileSource(Source):
    """Files by path or pattern, local or by URL; in the order of their names. Folders `column=value` become columns."""

    kind: ClassVar[str] = "files"

    path: str = Field(min_length=1, max_length=4096)
    """A file, a folder or a pattern like `data/*.parquet`; relative to the pipeline file, or a URL like s3://…"""
    format: Format | None = None
    """By the name's ending without."""
    columns: ColumnTypes = Field(default={})
    """Types of columns of CSV and JSON, and of folders: `{zip: string}`. Of others, those of the first rows."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Between the cells of CSV: a comma, in a .tsv a tab, without."""
    null_values: tuple[str, ...] = NULL_VALUES
    """Cells of CSV that are nothing."""

    @property
    def label(self) -> str:
        """See `Source`."""
        return self.name or self.path

    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """See `Source`."""
        files = self._files(reading)
        known, known_path = (self._widened(files, reading), "") if reading.schema_change == "widen" else (None, "")
        for done, path in enumerate(files.found.paths, 1):
            about = self._about(files, path, reading, known, known_path)
            with files.reading(path) as file:
                for table in self._form(path).tables(file, about):
                    if known is None:
                        known, known_path = table.schema, about.path
                    reading.origin = about.path
                    yield files.with_folders(table, path)
            reading.progress(f"read {self.label}", done, len(files.found.paths))

    def schema_of(self, reading: Reading) -> "pa.Schema | None":
        """See `Source`: of all files together where they may differ, else only reading tells."""
        import pyarrow as pa

        if reading.schema_change == "strict":
            return None
        files = self._files(reading)
        return pa.schema([*self._widened(files, reading), *files.folders])

    def fingerprint(self, reading: Reading) -> str | None:
        """See `Source`: over names, sizes and times of change, or what the store calls its version."""
        found = self._files(reading).found
        return hashlib.sha256("\n".join(found.stamp(path) for path in found.paths).encode()).hexdigest()

    def _files(self, reading: Reading) -> "_Files":
        return _Files(find_files(self.path, reading.folder, tuple(SUFFIXES)), self.columns)

    def _widened(self, files: "_Files", reading: Reading) -> "pa.Schema":
        """Return the columns of all files; of forms without a header of types, that takes reading them once more."""
        found: pa.Schema | None = None
        first = ""
        for path in files.found.paths:
            about = self._about(files, path, reading, None, "")
            try:
                with files.reading(path) as file:
                    own = self._form(path).schema_of(file, about)
                first, found = (first or about.path), own if found is None else widened(found, own)
            except DataError as error:
                raise DataError(f"reading {about.path} after {first or 'no other file'}: {error}") from error
            except (ValueError, EOFError, LookupError, OSError):
                continue  # it is damaged, and refused when it is read
        if found is None:
            raise DataError(f"reading {self.path}: no file can be read; mend them")
        return found

    def _about(
        self, files: "_Files", path: str, reading: Reading, known: "pa.Schema | None", known_path: str
    ) -> FileReading:
        delimiter = self.delimiter or ("\t" if suffix_of(path) == ".tsv" else ",")
        columns = {name: kind for name, kind in self.columns.items() if name not in files.folders.names}
        return FileReading(files.found.shown(path), reading, delimiter, self.null_values, columns, known_path, known)

    def _form(self, path: str) -> Form:
        suffix = suffix_of(path)
        if self.format is None and suffix not in SUFFIXES:
            raise DataError(f"reading {path}: the ending {suffix!r} says no format; add `format`")
        return _FORMS[self.format or SUFFIXES[suffix]]


@dataclass(frozen=True)
class _Files:
    """The files of a source, and the columns that their folders name."""

    found: FoundFiles
    declared: Mapping[str, str]

    @cached_property
    def folders(self) -> "pa.Schema":
        """The columns of folders."""
        values = [partition_values(path, self.found.root) for path in self.found.paths]
        names = {name for one in values for name in one}
        declared = arrow_types({name: kind for name, kind in self.declared.items() if name in names})
        try:
            return partition_schema(values, declared)
        except DataError as error:
            raise DataError(f"reading {self.found.shown(self.found.root)}: {error}") from error

    def with_folders(self, table: "pa.Table", path: str) -> "pa.Table":
        """Return a file's table with the columns of its folders."""
        if not self.folders.names:
            return table
        try:
            return with_partition(table, partition_values(path, self.found.root), self.folders)
        except DataError as error:
            raise DataError(f"reading {self.found.shown(path)}: {error}") from error

    @contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file, unpacked where its ending says so.

        Raises:
            DataError: It can not be reached, or no library unpacks it.
        """
        with self.found.reaching(path):
            try:
                opened = self.found.filesystem.open(path, "rb", compression="infer")
            except (ValueError, ImportError) as error:
                raise DataError(f"reading {self.found.shown(path)}: {error}; unpack it first") from error
            with opened as file:
                yield file
