"""How far two samples of counts lie apart, between 0 and 1: the Jensen-Shannon distance. A size, and no test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import DriftError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def jensen_shannon_distance(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the Jensen-Shannon distance to base 2 of the shares in each row's bins.

    It is the square root of the divergence (KL(p, m) + KL(q, m)) / 2 from the mean m of both, which makes it a
    metric (Endres and Schindelin, IEEE Trans. Inf. Theory 49, 2003): 0 where shares are the same, 1 where no bin
    has values of both. Bins that are empty need no floor, other than in the population stability index.

    Args:
        first: (..., bins) counts at least 0, as `Histogram.padded` gives them.
        second: the same shape.

    Returns:
        (...) float64, 0 to 1; NaN where one of the two has no values.

    Raises:
        DriftError: counts of different shape, negative, or not finite.
    """
    one, other = (np.asarray(counts, dtype=np.float64) for counts in (first, second))
    if one.ndim < 1 or one.shape != other.shape:
        message = f"Computing the Jensen-Shannon distance: found shapes {one.shape} and {other.shape}, expected one."
        raise DriftError(message)
    if any(not np.isfinite(counts).all() or (counts < 0).any() for counts in (one, other)):
        message = "Computing the Jensen-Shannon distance: a count is negative or not finite. Refuse the sample."
        raise DriftError(message)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = (counts / counts.sum(axis=-1, keepdims=True) for counts in (one, other))
    middle = 0.5 * (p + q)
    divergence = 0.5 * (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / math.log(2)
    distance: NDArray[np.float64] = np.sqrt(np.clip(divergence, 0.0, 1.0))
    return distance


def jensen_shannon_floor(bins: ArrayLike, first_n: ArrayLike, second_n: ArrayLike) -> NDArray[np.float64]:
    """Return the distance that two samples of one same source have, about: √((bins - 1)(1/n1 + 1/n2) / (8 ln 2)).

    The root of the mean divergence, to first order; a distance near it says nothing. Empty bins do not count.

    Args:
        bins: bins in which either has values.
        first_n: values in the first sample, at least 1; broadcast against the bins.
        second_n: values in the second sample.

    Returns:
        The broadcast shape, float64, 0 to 1.
    """
    sizes = 1.0 / np.asarray(first_n, dtype=np.float64) + 1.0 / np.asarray(second_n, dtype=np.float64)
    mean = (np.asarray(bins, dtype=np.float64) - 1.0) * sizes / (8 * math.log(2))
    floor: NDArray[np.float64] = np.sqrt(np.clip(mean, 0.0, 1.0))
    return floor


def _relative_entropy(p: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ p ln(p / m) of each row, in nats; an empty bin adds nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(p == 0, 0.0, p * np.log(p / middle))
    total: NDArray[np.float64] = logs.sum(axis=-1)
    return total
