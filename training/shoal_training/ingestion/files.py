"""Rows from files, in folders and object stores."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.ingestion.source import Reading, Source

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["parquet", "csv", "json", "avro"]
SUFFIXES: Final[Mapping[str, Format]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".avro": "avro",
}


class FileSource(Source):
    """Files by path or pattern, local or by URL; in the order of their names."""

    kind: ClassVar[str] = "files"

    path: str = Field(min_length=1, max_length=4096)
    """A file, a folder or a pattern like `data/*.parquet`; relative to the pipeline file, or a URL like s3://…"""
    format: Format | None = None
    """By the name's ending without."""

    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """See `Source`."""
        schema: pa.Schema | None = None
        filesystem, paths = self._paths(reading)
        for done, path in enumerate(paths, 1):
            read = _READERS[self._format_of(path)]
            with filesystem.open(path, "rb") as file:
                for table in read(file, path, reading.batch_rows):
                    if schema is not None and not table.schema.equals(schema):
                        raise DataError(
                            f"reading {path}: its columns are {_columns(table.schema)}, those of the files before "
                            f"{_columns(schema)}; read them as sources of their own, or mend the file"
                        )
                    schema = table.schema
                    yield table
            reading.progress(f"read {self.name or self.path}", done, len(paths))

    def fingerprint(self, reading: Reading) -> str | None:
        """See `Source`: over names, sizes and times of change, or what the store calls its version."""
        filesystem, paths = self._paths(reading)
        digest = hashlib.sha256()
        for path in paths:
            about = filesystem.info(path)
            said = (path, about.get("size"), about.get("ETag") or about.get("mtime") or about.get("LastModified"))
            digest.update(repr(said).encode())
        return digest.hexdigest()

    def _paths(self, reading: Reading) -> tuple[Any, list[str]]:
        """Return the filesystem and the files on it, at least one."""
        import fsspec

        pattern = self.path if "://" in self.path else str(reading.folder.absolute() / self.path)
        filesystem, root = fsspec.core.url_to_fs(pattern)
        if filesystem.isdir(root):
            found = [path for path in filesystem.find(root) if PurePosixPath(path).suffix.lower() in SUFFIXES]
        else:
            found = filesystem.glob(root) if any(one in root for one in "*?[") else [root]
        paths = sorted(path for path in found if filesystem.isfile(path))
        if not paths:
            raise DataError(f"reading {self.path}: no file is there; name a file, a folder or a pattern of files")
        return filesystem, paths

    def _format_of(self, path: str) -> Format:
        suffix = PurePosixPath(path).suffix.lower()
        if self.format is None and suffix not in SUFFIXES:
            raise DataError(f"reading {path}: the ending {suffix!r} says no format; add `format`")
        return self.format or SUFFIXES[suffix]


def _columns(schema: "pa.Schema") -> str:
    return ", ".join(f"{one.name} {one.type}" for one in schema)


def _read_parquet(file: Any, path: str, batch_rows: int) -> Iterator["pa.Table"]:  # noqa: ANN401 - fsspec's
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_rows):
            yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        raise DataError(f"reading {path}: {error}; it is no whole Parquet file, write it again") from error


def _read_csv(file: Any, path: str, batch_rows: int) -> Iterator["pa.Table"]:  # noqa: ANN401, ARG001 - by size of blocks
    import pyarrow as pa
    import pyarrow.csv as pc

    try:
        for batch in pc.open_csv(file):
            yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        raise DataError(f"reading {path}: {error}; mend the row") from error


_READERS: Final[Mapping[Format, Callable[[Any, str, int], Iterator["pa.Table"]]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
}
