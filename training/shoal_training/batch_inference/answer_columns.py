"""What a model answers, as columns of Arrow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_numerics.tensors import Array

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_columns(columns: Mapping[str, Array]) -> "dict[str, pa.Array]":
    """Return columns of answers, each (rows,): numbers, texts, or objects that are arrays, as Arrow's."""
    return {name: _arrow(column) for name, column in columns.items()}


def _arrow(column: Array) -> "pa.Array":
    import pyarrow as pa

    if column.dtype.kind != "O":
        return pa.array(column)
    values = column.tolist()
    if values and all(isinstance(one, np.ndarray) for one in values):
        return _lists([np.asarray(one) for one in values])
    return pa.array([one.decode(errors="replace") if isinstance(one, bytes) else one for one in values])


def _lists(values: "list[np.ndarray[Any, Any]]") -> "pa.Array":
    """Return arrays of any lengths as lists; of more axes, as lists of lists."""
    import pyarrow as pa

    if any(one.ndim != 1 for one in values):
        kind: pa.DataType = pa.from_numpy_dtype(values[0].dtype)
        for _ in range(values[0].ndim):
            kind = pa.list_(kind)
        return pa.array([one.tolist() for one in values], kind)
    flat = np.concatenate(values)
    texts = flat.dtype.kind == "O"
    items = pa.array(flat.tolist(), pa.string()) if texts else pa.array(flat)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in values])]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), items)
