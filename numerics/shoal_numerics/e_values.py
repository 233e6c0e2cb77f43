"""What is decided from e-values: evidence whose expectation is at most 1 where nothing is wrong, whenever one looks.

Two e-values average to one again, whatever depends on what; so do starts that are weighted by at most 1 in all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import DriftError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_FIRST_STARTS = 30
"""Starts that weigh about the same. With fewer the first one is favoured, and late ones pay for it."""
_START_SCALE = 3.4177
"""1 / Σ 1 / (n ln² n) over n from `_FIRST_STARTS` + 1 on, rounded down."""


def start_weight(start: int) -> float:
    """Return the weight of what begins at a start, counted from 1: 1 / (n ln² n), scaled, of n = start + 30.

    All weights sum to at most 1, so that a mixture over starts is an e-process again; a late start costs little more
    than the logarithm of its number. Source: Shin, Ramdas and Rinaldo, E-detectors, NEJSDS 2023 (mixing over starts).

    Raises:
        DriftError: a start below 1.
    """
    if start < 1:
        message = f"Weighing a start: it is number {start}, expected 1 or more."
        raise DriftError(message)
    place = start + _FIRST_STARTS
    return _START_SCALE / (place * math.log(place) ** 2)


def e_benjamini_hochberg(e_values: ArrayLike, alpha: float, tests: int | None = None) -> NDArray[np.bool_]:
    """Choose what is rejected so that the false discovery rate is at most alpha, whatever depends on what.

    The k largest are rejected, k the largest number for which the k-th is at least m / (alpha k); where nothing is
    wrong anything is rejected with probability at most alpha. Source: Wang and Ramdas, JRSS B 84, 2022 (e-BH).

    Args:
        e_values: any shape, 0 or more, infinity allowed; NaN (not tested) is never rejected and does not count.
        alpha: above 0 and below 1.
        tests: how many were tested where only the largest are given; None: all are given.

    Returns:
        The same shape, bool.

    Raises:
        DriftError: a negative e-value, more of them than tests, or alpha out of its range.
    """
    values = np.asarray(e_values, dtype=np.float64)
    if not 0 < alpha < 1:
        message = f"Choosing by e-values: alpha is {alpha}, expected above 0 and below 1."
        raise DriftError(message)
    tested = values[~np.isnan(values)]
    if (tested < 0).any():
        message = f"Choosing by e-values: found {tested.min()}, expected 0 or more."
        raise DriftError(message)
    total = len(tested) if tests is None else tests
    if total < len(tested):
        message = f"Choosing by e-values: found {len(tested)} of {total} tests."
        raise DriftError(message)
    falling = np.sort(tested)[::-1]
    enough = np.flatnonzero(falling * np.arange(1, len(falling) + 1) * alpha >= total)
    if len(enough) == 0:
        return np.zeros(values.shape, dtype=np.bool_)
    rejected: NDArray[np.bool_] = values >= falling[enough[-1]]
    return rejected
