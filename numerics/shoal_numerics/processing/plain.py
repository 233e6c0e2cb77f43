"""An input that nothing is declared for: its numbers as they are, from the column of its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_numerics.processing.columns import column_of, shown
from shoal_numerics.processing.errors import SampleError
from shoal_numerics.processing.made import Made
from shoal_numerics.tensors import NUMPY_TYPES, Array


def make_plain(spec: TensorSpec, columns: Mapping[str, Array], rows: int) -> Made:
    """Take an input from the column of its name: a number a row, or a list of them in row-major order.

    Args:
        spec: The input.
        columns: The data's columns by name, each (rows,).
        rows: How many samples there are.

    Returns:
        (rows, ...) of the input's datatype and shape.

    Raises:
        ProcessingError: There is no such column.
    """
    column = column_of(columns, spec.name)
    shape, refused = _sample_shape(spec, column), {}
    result = np.zeros((rows, *shape), dtype=NUMPY_TYPES[spec.datatype])
    for row in range(rows):
        try:
            result[row] = _sample(column[row], spec, shape)
        except SampleError as error:
            refused[row] = str(error)
    return Made(result, refused)


def _sample_shape(spec: TensorSpec, column: Array) -> tuple[int, ...]:
    """Return the shape of one sample; where one of its sizes is open, the first sample decides."""
    shape = spec.shape[1:]
    if shape.count(-1) != 1 or not len(column):
        return tuple(max(0, size) for size in shape)
    known = -int(np.prod(shape))
    return tuple(np.size(column[0]) // max(1, known) if size == -1 else size for size in shape)


def _sample(value: object, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return one sample.

    Raises:
        SampleError: It is missing, of another size, no numbers, or does not fit the datatype.
    """
    dtype = NUMPY_TYPES[spec.datatype]
    if value is None:
        raise SampleError(f"column {spec.name!r}: the value is missing")
    if dtype.kind == "O":
        return _texts(value, spec, shape)
    try:
        raw = np.asarray(value.tolist() if isinstance(value, np.ndarray) else value)
        found = raw if raw.dtype.kind in "biuf" else raw.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise SampleError(f"column {spec.name!r}: {shown(value)} is no number and no list of them") from error
    if found.size != np.prod(shape, dtype=np.int64):
        raise SampleError(f"column {spec.name!r}: {found.size} numbers found, expected {list(shape)}")
    with np.errstate(invalid="ignore", over="ignore"):
        made = found.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(made, found):
        raise SampleError(f"column {spec.name!r}: {shown(value)} does not fit {spec.datatype}")
    return made.reshape(shape)


def _texts(value: object, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    parts: Any = value if isinstance(value, list | tuple | np.ndarray) else [value]
    if len(parts) != np.prod(shape, dtype=np.int64):
        raise SampleError(f"column {spec.name!r}: {len(parts)} texts found, expected {list(shape)}")
    found = np.empty(len(parts), dtype=np.object_)
    found[:] = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return found.reshape(shape)
