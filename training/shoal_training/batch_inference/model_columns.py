"""A table's columns as a model takes them: whole tensors where that can be, else as raw columns for its processing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import NUMPY_TYPES, Array
from shoal_training.ingestion.tensors import numpy_of

if TYPE_CHECKING:
    import pyarrow as pa


def tensor_of(spec: TensorSpec, table: "pa.Table", columns: Sequence[str]) -> Array | None:
    """Return an input as one array, (rows, ...); None: its rows have to be looked at one by one.

    A number that is missing is NaN, which only inputs of fractions have.

    Args:
        spec: The input, whose samples lie along its first axis.
        table: With the columns.
        columns: One of tensors or numbers, or several of numbers side by side.
    """
    import pyarrow as pa

    found = [table[name] for name in columns]
    if len(found) == 1 and isinstance(found[0].type, pa.FixedShapeTensorType):
        return None if found[0].null_count else _fitted(spec, numpy_of(found[0]))
    if not all(_is_number(one.type) for one in found):
        return None
    return _fitted(spec, np.stack([_numbers(one) for one in found], axis=1))


def raw_column(column: "pa.ChunkedArray") -> Array:
    """Return a column as processing takes it, (rows,): numbers, or objects; times are seconds since 1970 in UTC."""
    import pyarrow as pa

    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if _is_number(kind):
        return _numbers(column)
    if types.is_timestamp(kind) or types.is_date(kind):
        micros = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        seconds: Array = np.asarray(micros.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64) / 1e6
        return seconds
    if types.is_string(kind) or types.is_large_string(kind):
        column = column.fill_null("")  # a missing text, as pipelines' models take it
    values = column.to_pylist()
    made = np.empty(len(values), dtype=np.object_)
    made[:] = values
    return made


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def _numbers(column: "pa.ChunkedArray") -> Array:
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    found: Array = column.to_numpy()
    return found


def _fitted(spec: TensorSpec, values: Array) -> Array | None:
    """Return values in an input's shape and datatype; None where they are not of it."""
    dtype, shape = NUMPY_TYPES[spec.datatype], spec.shape[1:]
    if dtype.kind == "O" or not spec.shape:
        return None
    size = int(np.prod(values.shape[1:], dtype=np.int64))
    if -1 in shape:
        if len(shape) != values.ndim - 1 or any(a not in {-1, b} for a, b in zip(shape, values.shape[1:], strict=True)):
            return None
        shape = values.shape[1:]
    if int(np.prod(shape, dtype=np.int64)) != size:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        made: Any = values.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(made, values):
        return None
    fitted: Array = made.reshape(len(values), *shape)
    return fitted
