"""Columns that hold an array in each row: Arrow's fixed-shape tensors, which Parquet keeps with their shape."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa


def tensor_type(value: "pa.DataType", shape: tuple[int, ...]) -> "pa.DataType":
    """Return the type of a column of arrays of one shape."""
    import pyarrow as pa

    return pa.fixed_shape_tensor(value, shape)


def tensor_array(values: npt.NDArray[Any]) -> "pa.Array":
    """Return a column of arrays.

    Args:
        values: One a row, (rows, …) of any number type.
    """
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    storage = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:], dtype=np.int64)))
    return pa.ExtensionArray.from_storage(tensor_type(flat.type, values.shape[1:]), storage)


def numpy_of(column: "pa.ChunkedArray") -> npt.NDArray[Any]:
    """Return a column of tensors as one array, (rows, …)."""
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in column.chunks])
