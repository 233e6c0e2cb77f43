"""Which samples lie in a slice: decided alike for the reference at the hub and for requests on a device."""

import numpy as np
from numpy.typing import NDArray


def in_slice(
    values: NDArray[np.float32], low: float | None, high: float | None, equals: float | None
) -> NDArray[np.bool_]:
    """Return for each value whether low < value <= high, or value = equals; NaN lies in no slice.

    Args:
        values: (n,) float32 values of the slice's feature.
        low: the lower bound, taken as float32 like the others; None: none.
        high: the upper bound; None: none.
        equals: the one value that lies in it; None: the bounds decide.
    """
    with np.errstate(over="ignore"):
        within: NDArray[np.bool_] = ~np.isnan(values)
        if equals is not None:
            within &= values == np.float32(equals)
        if low is not None:
            within &= values > np.float32(low)
        if high is not None:
            within &= values <= np.float32(high)
    return within
