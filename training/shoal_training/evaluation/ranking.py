"""How well scores put rows with an answer above those without, on many resamples at once.

Area under the ROC curve with ties (Hanley and McNeil, Radiology 143, 1982) and average precision, as scikit-learn has
them, of rows by weight.
"""

import numpy as np
from numpy.typing import NDArray

from shoal_training.evaluation.metric import Values, Weights
from shoal_training.onnx_samples import Array


def area_by_weight(is_positive: NDArray[np.bool_], scores: Array, weights: Weights) -> Values:
    """Return the area under the ROC curve of each resample, (resamples,); NaN where one side is empty.

    Args:
        is_positive: (n,) which rows should score high.
        scores: (n,).
        weights: (resamples, n).
    """
    positives, negatives = _grouped(is_positive, scores, weights)
    below = np.cumsum(negatives, axis=1) - negatives
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return np.asarray((positives * (below + negatives / 2)).sum(axis=1) / pairs)


def average_precision_by_weight(is_positive: NDArray[np.bool_], scores: Array, weights: Weights) -> Values:
    """Return the average precision of each resample, (resamples,); NaN where none is positive; see `area_by_weight`."""
    positives, negatives = (one[:, ::-1] for one in _grouped(is_positive, scores, weights))
    found = np.cumsum(positives, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(found / (found + np.cumsum(negatives, axis=1)))
        return np.asarray((positives * precision).sum(axis=1) / positives.sum(axis=1))


def _grouped(is_positive: NDArray[np.bool_], scores: Array, weights: Weights) -> tuple[Values, Values]:
    """Return the weight of positives and of negatives by score, lowest first, (resamples, distinct scores) each."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    drawn, is_one = weights[:, order], is_positive[order]
    return (
        np.add.reduceat(drawn * is_one, starts, axis=1),
        np.add.reduceat(drawn * ~is_one, starts, axis=1),
    )
