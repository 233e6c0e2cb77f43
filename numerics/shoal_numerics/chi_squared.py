"""Have the shares of the categories changed? Pearson's chi-squared test of two samples of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import DriftError
from shoal_numerics.gamma_tail import chi_squared_survival

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST_EXPECTED = 5.0
"""Cochran's rule: with fewer expected in a cell the asymptotic law is not near enough (Biometrics 10, 1954)."""

MIN_CELLS = 2


@dataclass(frozen=True)
class ChiSquared:
    """What the test found.

    Attributes:
        statistic: Σ (observed - expected)² / expected over both samples; NaN where nothing was tested.
        degrees: cells less one, after joining; 0 where nothing was tested.
        p_value: asymptotic, unadjusted; NaN where nothing was tested.
        joined: categories that were too rare to stand alone and were counted as one cell.
    """

    statistic: float
    degrees: int
    p_value: float
    joined: int

    @property
    def is_tested(self) -> bool:
        """Whether there were two cells to compare."""
        return self.degrees > 0


def chi_squared_test(first: ArrayLike, second: ArrayLike, least_expected: float = LEAST_EXPECTED) -> ChiSquared:
    """Compare the shares of the categories in two samples.

    It takes values for independent, and that every category has its own count: a histogram over
    `HistogramEdges.categories` has them, the outer bins being one more category each. Categories of which one
    sample is expected to have fewer than `least_expected` are joined to one cell, and the next rare one with them
    while that is still too small. Both samples' sums decide on that and not their difference, so that joining
    does not raise false alarms; a change among the joined ones is not seen. There is no correction for continuity.

    Args:
        first: (categories,) counts of the reference, at least 0.
        second: (categories,) counts of the window.
        least_expected: the fewest values expected in a cell; 0 joins nothing.

    Raises:
        DriftError: counts of different shape, negative, or not finite.
    """
    counts = _two_samples(first, second)
    sizes = counts.sum(axis=1)
    if (sizes == 0).any():
        return ChiSquared(np.nan, 0, np.nan, 0)
    totals = counts.sum(axis=0)
    counts, totals = counts[:, totals > 0], totals[totals > 0]
    order = np.argsort(totals, kind="stable")
    needed = least_expected * sizes.sum() / sizes.min()
    rare = int((totals < needed).sum())
    while 0 < rare < len(totals) and totals[order[:rare]].sum() < needed:
        rare += 1
    joined = rare if rare > 1 else 0
    cells = np.hstack([counts[:, order[:rare]].sum(axis=1, keepdims=True), counts[:, order[rare:]]])[
        :, int(rare == 0) :
    ]
    if cells.shape[1] < MIN_CELLS:
        return ChiSquared(np.nan, 0, np.nan, joined)
    expected = np.outer(sizes / sizes.sum(), cells.sum(axis=0))
    statistic, degrees = float(((cells - expected) ** 2 / expected).sum()), cells.shape[1] - 1
    return ChiSquared(statistic, degrees, float(chi_squared_survival(statistic, degrees)), joined)


def _two_samples(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return both samples' counts, (2, categories) float64."""
    one, other = (np.asarray(counts, dtype=np.float64) for counts in (first, second))
    if one.ndim != 1 or one.shape != other.shape or not len(one):
        message = f"Testing categories: found counts of shapes {one.shape} and {other.shape}, expected one same length."
        raise DriftError(message)
    counts = np.stack([one, other])
    if not np.isfinite(counts).all() or (counts < 0).any():
        message = "Testing categories: a count is negative or not finite. Refuse the sample."
        raise DriftError(message)
    return counts
