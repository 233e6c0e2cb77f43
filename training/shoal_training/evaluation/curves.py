"""Curves of scores: receiver operating characteristic and precision by recall, thinned out for pictures."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_training.evaluation.result import Curve
from shoal_training.onnx_samples import Array

MOST_CURVES: Final = 10
MOST_POINTS: Final = 200


def curves_of(truth: Array, scores: Array, labels: tuple[str, ...]) -> tuple[tuple[Curve, ...], tuple[Curve, ...]]:
    """Return the ROC and the precision-recall curve of each class, or of the second of two; of the first ten classes.

    Args:
        truth: (n,) places among the labels.
        scores: (n, classes).
        labels: Names of the classes.
    """
    places = range(1, 2) if len(labels) == 2 else range(min(len(labels), MOST_CURVES))  # noqa: PLR2004 - as said
    found = [curves_of_one(labels[at], truth == at, scores[:, at]) for at in places]
    known = [one for one in found if one is not None]
    return tuple(one[0] for one in known), tuple(one[1] for one in known)


def curves_of_one(name: str, is_positive: NDArray[np.bool_], scores: Array) -> tuple[Curve, Curve] | None:
    """Return both curves of one score; None: one side is empty."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    if not is_positive.any() or is_positive.all():
        return None
    false_positives, true_positives, _ = roc_curve(is_positive, scores)
    precision, recall, _ = precision_recall_curve(is_positive, scores)
    return _thinned(name, false_positives, true_positives), _thinned(name, recall[::-1], precision[::-1])


def answers_of(truth: Array, scores: Array, seed: int, most: int = 500) -> Curve:
    """Return truths and answers of some rows of a regression, by rising truth."""
    drawn = np.random.default_rng(seed).permutation(len(truth))[:most]
    drawn = drawn[np.argsort(truth[drawn], kind="stable")]
    return Curve(name="answers", x=tuple(map(float, truth[drawn])), y=tuple(map(float, scores[drawn])))


def _thinned(name: str, x: Array, y: Array) -> Curve:
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(np.int64))
    return Curve(name=name, x=tuple(map(float, x[kept])), y=tuple(map(float, y[kept])))
