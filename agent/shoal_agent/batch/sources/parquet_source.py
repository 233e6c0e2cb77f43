"""Parquet, row group by row group: of each only the columns that are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shoal_agent.batch.errors import BatchError
from shoal_agent.batch.sources.file_identity import file_identity, size_of
from shoal_agent.batch.sources.source import Chunk, Position, row_numbers, to_objects
from shoal_agent.engines import Array
from shoal_agent.processing import missing_extra


class ParquetSource:
    """One Parquet file; see `Source`. A row group that is damaged costs its own rows alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)
        self.size_bytes = size_of(path)
        self.identity = file_identity(path)

    def columns(self) -> tuple[str, ...]:
        """Return the names in the schema."""
        with self._open() as file:
            return tuple(file.schema_arrow.names)

    def chunks(self, columns: Collection[str], size: int, after: Position | None) -> Iterator[Chunk]:
        """Read rows from a place on."""
        group, within, row = (after["group"], after["within"], after["row"]) if after else (0, 0, 0)
        with self._open() as file:
            wanted = [name for name in file.schema_arrow.names if name in columns]
            total = max(1, file.metadata.num_rows)
            for number in range(group, file.metadata.num_row_groups):
                for values, count, reason in self._group(file, number, wanted, size, within):
                    within += count
                    bad = dict.fromkeys(range(row + 1, row + count + 1), reason) if reason else {}
                    rows = row_numbers(row + 1, 0 if reason else count)
                    row += count
                    place = {"group": number, "within": within, "row": row}
                    yield Chunk(values, rows, bad, place, self.size_bytes * row // total)
                within = 0

    def _group(
        self,
        file: Any,  # noqa: ANN401 - the library has no types
        number: int,
        names: list[str],
        size: int,
        skip: int,
    ) -> Iterator[tuple[dict[str, Array], int, str]]:
        """Yield columns and their length, or no columns, how many rows are lost, and why."""
        import pyarrow as pa

        total, seen = file.metadata.row_group(number).num_rows, 0
        try:
            for batch in file.iter_batches(size, row_groups=[number], columns=names, use_threads=False):
                fresh = batch.slice(max(0, skip - seen))
                seen += batch.num_rows
                if fresh.num_rows:
                    yield {name: to_array(fresh.column(name)) for name in names}, fresh.num_rows, ""
        except (pa.ArrowException, OSError) as error:
            left = total - max(seen, skip)
            for begin in range(0, left, size):
                yield {}, min(size, left - begin), f"row group {number} is damaged: {str(error)[:200]}"
            return
        if not names:  # a batch of no columns has no rows either
            yield {}, total - skip, ""

    def _open(self) -> Any:  # noqa: ANN401 - the library has no types
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise missing_extra(f"reading {self._path}", "pyarrow", "batch") from error
        try:
            return pq.ParquetFile(self._path, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise BatchError(f"reading {self._path}: {str(error)[:300]}", "give a whole Parquet file") from error


def to_array(column: Any) -> Array:  # noqa: ANN401 - the library has no types
    """Return an Arrow array as numbers where it has them, else as objects; what is null is NaN or None."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if is_number or (pa.types.is_boolean(kind) and not column.null_count):
        numbers: Array = column.to_numpy(zero_copy_only=False)
        return numbers
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and not column.null_count:
        values = column.flatten()
        if (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)) and not values.null_count:
            return _lists(column, values.to_numpy(zero_copy_only=False))
    return to_objects(column.to_pylist())


def _lists(column: Any, values: Array) -> Array:  # noqa: ANN401 - the library has no types
    """Return lists of numbers as views of one array."""
    import pyarrow.compute as pc

    ends = np.cumsum(pc.list_value_length(column).to_numpy(zero_copy_only=False))
    return to_objects(list(np.split(values, ends[:-1]))) if len(column) else to_objects([])
