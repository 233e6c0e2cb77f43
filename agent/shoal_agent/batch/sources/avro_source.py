"""Avro object container files, block by block."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from shoal_agent.batch.errors import BatchError
from shoal_agent.batch.sources.file_identity import file_identity, size_of
from shoal_agent.batch.sources.source import Chunk, Position, row_numbers, to_columns
from shoal_agent.processing import missing_extra


class AvroSource:
    """One Avro file of records; see `Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)
        self.size_bytes = size_of(path)
        self.identity = file_identity(path)

    def columns(self) -> tuple[str, ...]:
        """Return the names of the records' fields."""
        reader = self._reader()
        with self._path.open("rb") as file:
            try:
                schema = reader(file).writer_schema
            except Exception as error:  # what the library raises on damaged files shares no base class
                raise self._damaged(error) from error
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise BatchError(f"reading {self._path}: no records in it", "give a file of records")
        return tuple(field["name"] for field in schema["fields"])

    def chunks(self, columns: Collection[str], size: int, after: Position | None) -> Iterator[Chunk]:
        """Read records from a place on; blocks before it are passed over without being decoded."""
        skip = row = after["row"] if after else 0
        for block, end in self._blocks():
            if skip >= block.num_records:
                skip -= block.num_records
                continue
            records = self._decoded(block)[skip:]
            skip = 0
            for begin in range(0, len(records), size):
                some = records[begin : begin + size]
                numbers = row_numbers(row + 1, len(some))
                row += len(some)
                yield Chunk(to_columns(some, columns), numbers, {}, {"row": row}, end)

    def _blocks(self) -> Iterator[tuple[Any, int]]:
        """Yield each block, and the place behind it."""
        reader = self._reader()
        with self._path.open("rb") as file:
            try:
                for block in reader(file):
                    yield block, file.tell()
            except BatchError:
                raise
            except Exception as error:  # what the library raises on damaged files shares no base class
                raise self._damaged(error) from error

    def _decoded(self, block: Any) -> list[Any]:  # noqa: ANN401 - the library's
        try:
            return list(block)
        except Exception as error:  # what the library raises on damaged files shares no base class
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> BatchError:
        detail = str(error)[:200] or type(error).__name__
        return BatchError(f"reading {self._path}: it is no whole Avro file ({detail})", "give a whole Avro file")

    def _reader(self) -> Any:  # noqa: ANN401 - the library's
        try:
            from fastavro import block_reader
        except ImportError as error:
            raise missing_extra(f"reading {self._path}", "fastavro", "batch") from error
        return block_reader
