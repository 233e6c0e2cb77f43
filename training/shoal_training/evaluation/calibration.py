"""Whether a classifier is right as often as it says: the expected calibration error and the reliability curve.

Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599): rows by their highest score, in bins of
one width; the error is the mean distance of score and accuracy, by rows.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal_numerics.class_choice import chosen_classes
from shoal_training.evaluation.metric import Values, Weights
from shoal_training.onnx_samples import Array

BINS: Final = 15


class ReliabilityBin(NamedTuple):
    """Rows whose highest score lies in a bin.

    Attributes:
        confidence: Mean of their highest scores, 0..1.
        accuracy: Share of them that is right, 0..1.
        rows: How many there are, 1 or more.
    """

    confidence: float
    accuracy: float
    rows: int


def reliability(truth: Array, scores: Array) -> tuple[ReliabilityBin, ...]:
    """Return the bins that hold rows, lowest first; see `expected_calibration_error`."""
    rows, confident, right = (one[0] for one in _sums(truth, scores, np.ones((1, len(truth)))))
    return tuple(
        ReliabilityBin(float(confident[at] / rows[at]), float(right[at] / rows[at]), int(rows[at]))
        for at in np.flatnonzero(rows)
    )


def expected_calibration_error(truth: Array, scores: Array) -> float:
    """Return the error, 0..1, of (n, classes) scores in 0..1; NaN where they are others."""
    return float(error_by_weight(truth, scores, np.ones((1, len(truth))))[0])


def error_by_weight(truth: Array, scores: Array, weights: Weights) -> Values:
    """Return the error of each resample, (resamples,)."""
    if (scores < 0).any() or (scores > 1 + 1e-6).any():
        return np.full(len(weights), np.nan)
    rows, confident, right = _sums(truth, scores, weights)
    return np.asarray(np.abs(confident - right).sum(axis=1) / rows.sum(axis=1))


def _sums(truth: Array, scores: Array, weights: Weights) -> tuple[Values, Values, Values]:
    """Return rows, highest scores and right ones by bin, (resamples, bins) each."""
    highest = scores.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(highest * BINS).astype(np.int64) - 1, 0, BINS - 1)
    is_in: NDArray[np.float64] = (bins[:, np.newaxis] == np.arange(BINS)).astype(np.float64)
    is_right = (chosen_classes(scores) == truth).astype(np.float64)
    return (
        weights @ is_in,
        weights @ (is_in * highest[:, np.newaxis]),
        weights @ (is_in * is_right[:, np.newaxis]),
    )
