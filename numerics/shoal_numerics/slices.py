"""Which samples lie in a slice, decided alike at the hub and on a device, and how counts of slices merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shoal_contract.slices import SliceCounts
from shoal_numerics.errors import HistogramError

if TYPE_CHECKING:
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


def merge_slices(first: SliceCounts, second: SliceCounts) -> SliceCounts:
    """Return the counts of the samples of both: exact, commutative and associative.

    Raises:
        HistogramError: they have other numbers of labels or bins.
    """
    if (len(first.predictions), len(first.confidence)) != (len(second.predictions), len(second.confidence)):
        message = (
            f"Merging slices: found {len(first.predictions)} and {len(second.predictions)} labels, "
            f"{len(first.confidence)} and {len(second.confidence)} bins of confidence, expected as many."
        )
        raise HistogramError(message)
    return SliceCounts(
        samples=first.samples + second.samples,
        predictions=tuple(map(sum, zip(first.predictions, second.predictions, strict=True))),
        confidence=tuple(map(sum, zip(first.confidence, second.confidence, strict=True))),
    )
