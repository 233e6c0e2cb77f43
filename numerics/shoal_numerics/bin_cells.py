"""Maps from float32 to cells that never fall where values rise: what bin_table.py finds bins by.

Rounding is part of a map: edges and values take the very same steps, so that an edge in a lower cell is a lower edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALUES_A_LINE: Final = 2048
"""Parameters of features are repeated to lines of about so many, as numpy is slow on short ones."""
_SMALLEST_NORMAL: Final = 2.0**-126  # of float32
_LARGEST_SCALE: Final = 1e38
_LAST_KEY: Final = 0x7FFFFFFF  # of int32

Places: TypeAlias = "slice | NDArray[np.intp]"
_Parameter = TypeVar("_Parameter", "np.float32", "np.int32", "np.uint32")


class Cells(Protocol):
    """A map of several features, the cells of each behind those of the one before."""

    def __init__(self, first: NDArray[np.float32], last: NDArray[np.float32], cells: int) -> None:
        """Take the first and the last edge of each feature, (features,), and how many cells each has."""

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""

    def of(self, values: NDArray[np.float32], at: Places) -> NDArray[np.intp]:
        """Return the cells of values without NaN; `at` are their places in a line, (values' last axis,)."""


class LinearCells:
    """Cells of equal width between the first edge of a feature and its last."""

    def __init__(self, first: NDArray[np.float32], last: NDArray[np.float32], cells: int) -> None:
        begins = np.arange(len(first)) * cells
        span = last.astype(np.float64) - first
        # One edge alone is as far from zero as it is: so many of its products do not overflow.
        span = np.where(span > 0, span, 1 + np.abs(first.astype(np.float64)))
        scale = np.clip((cells - 2) / span, _SMALLEST_NORMAL, _LARGEST_SCALE).astype(np.float32)
        self._scale = _line(scale)
        # The product is rounded as it will be, so that the first edge lies in the first cell but one.
        self._shift = _line((1 - first.astype(np.float64) * scale + begins).astype(np.float32))
        self._low, self._high = _line(begins.astype(np.float32)), _line((begins + cells - 1).astype(np.float32))

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(array.nbytes for array in (self._scale, self._shift, self._low, self._high))

    def of(self, values: NDArray[np.float32], at: Places) -> NDArray[np.intp]:
        """Return the cells; each step rounds to the nearest, so that none ever falls where values rise."""
        places = values * self._scale[at]
        places += self._shift[at]
        np.maximum(places, self._low[at], out=places)
        np.minimum(places, self._high[at], out=places)
        return places.astype(np.intp)


class OrderCells:
    """Cells of equally many floats between the first edge of a feature and its last: fine around zero and afar."""

    def __init__(self, first: NDArray[np.float32], last: NDArray[np.float32], cells: int) -> None:
        low, high = _order_keys(first), _order_keys(last)
        span = high.astype(np.int64) - low
        bits = np.frexp((span // cells).astype(np.float64))[1]
        self._low, self._high = _line(low), _line(high)
        self._bits = _line(bits.astype(np.uint32))
        self._begins = _line((np.arange(len(first)) * cells).astype(np.uint32))

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(array.nbytes for array in (self._low, self._high, self._bits, self._begins))

    def of(self, values: NDArray[np.float32], at: Places) -> NDArray[np.intp]:
        """Return the cells."""
        keys = _order_keys(values)
        np.maximum(keys, self._low[at], out=keys)
        np.minimum(keys, self._high[at], out=keys)
        # The difference of two int32 fits uint32, as which its bits are read.
        keys -= self._low[at]
        places = keys.view(np.uint32)
        places >>= self._bits[at]
        places += self._begins[at]
        return places.astype(np.intp)


def _line(parameters: NDArray[_Parameter]) -> NDArray[_Parameter]:
    """Repeat one parameter a feature until it makes a line of values."""
    return np.tile(parameters, max(1, VALUES_A_LINE // len(parameters)))


def _order_keys(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Map float32 without NaN to int32 of the same order (IEEE 754 totalOrder), -0.0 to 0.0."""
    keys: NDArray[np.int32] = (values + np.float32(0)).view(np.int32)
    keys ^= (keys >> 31) & _LAST_KEY
    return keys
