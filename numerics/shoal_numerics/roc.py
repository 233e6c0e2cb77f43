"""Area under the ROC curve from counts of scores over fixed bins, so that it merges over windows and devices. Pure.

Scores are probabilities. Half of the bins are even; the others lie near 0 and 1, evenly in the logit, where a sure
model's scores are. Two scores in one bin count as a tie, so the area is off by at most half of the pairs that share
one, `RocArea.error`: known, not estimated (Hanley and McNeil, Radiology 143, 1982, for the area with ties).
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from shoal_numerics.errors import PerformanceError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SCORE_BINS: Final = 128
_EVEN: Final = 64
_SIDE: Final = 32
"""Edges below 1/64, and as many above 63/64."""
_STEP_BELOW: Final = 0.5
_STEP_ABOVE: Final = 0.3
"""Of the logit; float32 tells fewer numbers apart near 1 than near 0."""


class RocArea(NamedTuple):
    """An area under the ROC curve.

    Attributes:
        area: 0 to 1; 0.5 is chance.
        error: How far it is from the area of the scores themselves at most, 0 to 0.5.
        positives: Samples of the class.
        negatives: The others.
    """

    area: float
    error: float
    positives: int
    negatives: int


@cache
def score_edges() -> NDArray[np.float32]:
    """Return the 127 interior edges, increasing, (127,) float32. Do not write to them."""
    even = np.arange(1, _EVEN) / _EVEN
    outermost = math.log(even[-1] / (1 - even[-1]))
    steps = np.arange(1, _SIDE + 1)
    below = 1 / (1 + np.exp(outermost + _STEP_BELOW * steps))
    above = 1 / (1 + np.exp(-outermost - _STEP_ABOVE * steps))
    edges = np.concatenate([below[::-1], even, above]).astype(np.float32)
    edges.flags.writeable = False
    return edges


def score_bins(scores: ArrayLike) -> NDArray[np.uint8]:
    """Return the bin of each score, of the same shape, uint8; a NaN is taken for the highest score."""
    return np.searchsorted(score_edges(), np.asarray(scores, dtype=np.float32), side="right").astype(np.uint8)


def roc_area(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> RocArea | None:
    """Return the area under the ROC curve; None where there are no positives or no negatives.

    Args:
        negatives: (bins,) int64, samples that are not of the class by the bin of their score, lowest first.
        positives: (bins,) int64, those that are.

    Raises:
        PerformanceError: They have other numbers of bins.
    """
    if negatives.shape != positives.shape or negatives.ndim != 1:
        message = f"Computing an area: found {negatives.shape} and {positives.shape} bins, expected as many."
        raise PerformanceError(message)
    # As float64: pairs of 2**48 samples are beyond int64.
    below = np.concatenate([[0], np.cumsum(negatives)[:-1]]).astype(np.float64)
    of, others = int(positives.sum()), int(negatives.sum())
    if not of or not others:
        return None
    ties = positives.astype(np.float64) @ negatives / 2
    pairs = float(of) * float(others)
    area = (float(positives @ below) + float(ties)) / pairs
    return RocArea(min(area, 1.0), float(ties) / pairs, of, others)


def mean_area(areas: list[RocArea]) -> RocArea | None:
    """Return the mean over classes, each against all others, whatever their size (macro); None of none."""
    if not areas:
        return None
    return RocArea(
        area=sum(one.area for one in areas) / len(areas),
        error=sum(one.error for one in areas) / len(areas),
        positives=sum(one.positives for one in areas),
        negatives=sum(one.negatives for one in areas),
    )
