"""Numbers into the datatype of a model's input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_numerics.tensors import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cast(values: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Return finite numbers as another type.

    Args:
        values: Of any shape.
        dtype: A float type, which takes the nearest value and infinity for what is beyond it; or one of whole numbers,
            which rounds half to even and keeps to its range.

    Returns:
        An array of the same shape.
    """
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    bounds = np.iinfo(dtype)
    rounded = np.rint(values)
    # 2**63 - 1 is no float64: what reaches the bound's float is given the bound itself.
    is_low, is_high = rounded <= float(bounds.min), rounded >= float(bounds.max)
    result = np.where(is_low | is_high, 0.0, rounded).astype(dtype)
    result[is_low], result[is_high] = bounds.min, bounds.max
    return result
