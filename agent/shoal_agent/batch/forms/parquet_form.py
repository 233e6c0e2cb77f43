"""Parquet: numbers keep their types, lists are lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shoal_agent.batch.answers import Columns, plain
from shoal_agent.engines import Array
from shoal_agent.processing import missing_extra


class ParquetForm:
    """A row group for each part; see `Form`.

    Raises:
        ProcessingError: The library is not installed.
    """

    def __init__(self) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise missing_extra("writing Parquet", "pyarrow", "batch") from error
        self._pa, self._pq = pa, pq

    def write(self, columns: Columns, path: Path) -> None:
        """Write rows to a new file."""
        table = self._pa.table({name: self._arrow(column) for name, column in columns.items()})
        self._pq.write_table(table, path)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Put parts together; a column that is of one type here and of another there becomes text where it must."""
        schema = self._schema(parts)
        with self._pq.ParquetWriter(path, schema) as writer:
            for part in parts:
                writer.write_table(self._cast(self._pq.read_table(part, use_threads=False), schema))

    def _schema(self, parts: Sequence[Path]) -> Any:  # noqa: ANN401 - the library has no types
        pa = self._pa
        if not parts:
            return pa.schema([("file", pa.string()), ("row", pa.int64())])
        found = self._pq.read_schema(parts[0])
        for part in parts[1:]:
            other = self._pq.read_schema(part)
            try:
                found = pa.unify_schemas([found, other], promote_options="permissive")
            except pa.ArrowException:
                found = self._as_text(found, other)
        return found

    def _as_text(self, left: Any, right: Any) -> Any:  # noqa: ANN401
        """Return the left schema, with text where the other has a type that does not go with its own."""
        pa = self._pa
        for name in left.names:
            one, other = left.field(name), right.field(name)
            try:
                both = pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive").field(0)
            except pa.ArrowException:
                both = pa.field(name, pa.string())
            left = left.set(left.get_field_index(name), both)
        return left

    def _cast(self, table: Any, schema: Any) -> Any:  # noqa: ANN401
        if table.schema.equals(schema):
            return table
        columns = []
        for field in schema:
            column = table.column(field.name)
            if self._pa.types.is_string(field.type) and not self._pa.types.is_string(column.type):
                texts = [None if value is None else str(value) for value in column.to_pylist()]
                columns.append(self._pa.array(texts, field.type))
            else:
                columns.append(column.cast(field.type))
        return self._pa.table(columns, schema=schema)

    def _arrow(self, column: Array) -> Any:  # noqa: ANN401
        pa = self._pa
        if column.dtype.kind != "O":
            return pa.array(column)
        kind = self._list_type(column)
        if kind is not None:
            return pa.array([one.tolist() for one in column], kind)
        try:
            return pa.array(column.tolist())
        except (pa.ArrowException, TypeError, OverflowError):
            return pa.array([None if value is None else str(plain(value)) for value in column.tolist()])

    def _list_type(self, column: Array) -> Any:  # noqa: ANN401
        """Return the type of a column whose values are arrays of one type and rank; None where they are not."""
        kinds = {(one.dtype, one.ndim) if isinstance(one, np.ndarray) else None for one in column}
        if len(kinds) != 1 or None in kinds:
            return None
        dtype, rank = next(one for one in kinds if one is not None)
        kind = self._pa.string() if dtype.kind == "O" else self._pa.from_numpy_dtype(dtype)
        for _ in range(rank):
            kind = self._pa.list_(kind)
        return kind
