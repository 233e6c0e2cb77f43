"""Metrics of classifications: truth is a place among the labels, (n,) int64, scores are (n, classes) that sum to 1.

Values are scikit-learn's. `log_loss`, `brier` and `calibration_error` are of probabilities, and not defined of others.
"""

from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_numerics.class_choice import chosen_classes
from shoal_training.evaluation.calibration import error_by_weight, expected_calibration_error
from shoal_training.evaluation.metric import Values, Weights, falling, mean_of, rising
from shoal_training.evaluation.ranking import area_by_weight
from shoal_training.onnx_samples import Array

_SUM_OFF: Final = 1e-2
"""By how much scores of a row may miss 1 and still be probabilities."""
_MANY_CLASSES: Final = 4
"""An area a class is slow: with more classes a share of the resamples is looked at."""
_LEAST_SCORE: Final = 1e-15


def accuracy(truth: Array, scores: Array) -> float:
    """Return the share (0..1) of rows whose highest score is the label's."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(truth, chosen_classes(scores)))


def _precision_macro(truth: Array, scores: Array) -> float:
    return _macro(truth, scores)[0]


def _recall_macro(truth: Array, scores: Array) -> float:
    return _macro(truth, scores)[1]


def _f1_macro(truth: Array, scores: Array) -> float:
    return _macro(truth, scores)[2]


def _macro(truth: Array, scores: Array) -> tuple[float, float, float]:
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(truth, chosen_classes(scores), average="macro", zero_division=0.0)
    return float(found[0]), float(found[1]), float(found[2])


def class_areas(truth: Array, scores: Array) -> Values:
    """Return the area under the ROC curve of each class against all others, (classes,); NaN where one side is empty."""
    from sklearn.metrics import roc_auc_score

    found = np.full(scores.shape[1], np.nan)
    for label in range(scores.shape[1]):
        is_label = truth == label
        if is_label.any() and not is_label.all():
            found[label] = roc_auc_score(is_label, scores[:, label])
    return found


def _auc(truth: Array, scores: Array) -> float:
    areas = class_areas(truth, scores)
    known = areas[~np.isnan(areas)]
    return float(known.mean()) if len(known) else float("nan")


def _auc_by_weight(truth: Array, scores: Array, weights: Weights) -> Values:
    if scores.shape[1] == 2:  # noqa: PLR2004 - both classes have the same area
        return area_by_weight(truth == 1, scores[:, 1], weights)
    drawn = weights[:: -(-scores.shape[1] // _MANY_CLASSES)]
    areas = [area_by_weight(truth == label, scores[:, label], drawn) for label in range(scores.shape[1])]
    known = ~np.isnan(areas)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(areas, axis=0) / known.sum(axis=0))


def _log_loss(truth: Array, scores: Array) -> float:
    from sklearn.metrics import log_loss

    if not are_probabilities(scores):
        return float("nan")
    return float(log_loss(truth, _normed(scores), labels=np.arange(scores.shape[1])))


def _log_losses(truth: Array, scores: Array) -> Array:
    if not are_probabilities(scores):
        return np.full(len(truth), np.nan)
    least = np.finfo(np.float64).eps
    of_truth = _normed(scores)[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.clip(of_truth, least, 1 - least)))


def _brier(truth: Array, scores: Array) -> float:
    from sklearn.metrics import brier_score_loss

    if not are_probabilities(scores):
        return float("nan")
    return float(brier_score_loss(truth, _normed(scores), labels=np.arange(scores.shape[1])))


def _briers(truth: Array, scores: Array) -> Array:
    if not are_probabilities(scores):
        return np.full(len(truth), np.nan)
    gap = _normed(scores) - (truth[:, np.newaxis] == np.arange(scores.shape[1]))
    return np.asarray((gap**2).sum(axis=1) / (2 if scores.shape[1] == 2 else 1))  # noqa: PLR2004 - as Brier has it


def are_probabilities(scores: Array) -> bool:
    """Whether scores lie in 0..1 and each row sums to 1."""
    return bool((scores >= 0).all() and (np.abs(scores.sum(axis=1) - 1) < _SUM_OFF).all())


def _normed(scores: Array) -> NDArray[np.float64]:
    wide = scores.astype(np.float64)
    return np.asarray(wide / np.maximum(wide.sum(axis=1, keepdims=True), _LEAST_SCORE))


def _counts(truth: Array, scores: Array, weights: Weights) -> tuple[Values, Values, Values]:
    """Return right ones, rows and choices of each class, (resamples, classes) each."""
    labels = np.arange(scores.shape[1])
    is_truth = (truth[:, np.newaxis] == labels).astype(np.float64)
    is_chosen = (chosen_classes(scores)[:, np.newaxis] == labels).astype(np.float64)
    return weights @ (is_truth * is_chosen), weights @ is_truth, weights @ is_chosen


def _macro_by_weight(part: int, truth: Array, scores: Array, weights: Weights) -> Values:
    right, rows, choices = _counts(truth, scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (right / choices, right / rows, 2 * right / (rows + choices))[part]
    is_there = rows + choices > 0
    return np.asarray((np.nan_to_num(found) * is_there).sum(axis=1) / is_there.sum(axis=1))


CLASSIFICATION: Final = (
    rising("accuracy", accuracy, mean_of(lambda truth, scores: chosen_classes(scores) == truth)),
    rising("precision_macro", _precision_macro, partial(_macro_by_weight, 0)),
    rising("recall_macro", _recall_macro, partial(_macro_by_weight, 1)),
    rising("f1_macro", _f1_macro, partial(_macro_by_weight, 2)),
    rising("auc_roc", _auc, _auc_by_weight),
    falling("log_loss", _log_loss, mean_of(_log_losses)),
    falling("brier", _brier, mean_of(_briers)),
    falling("calibration_error", expected_calibration_error, error_by_weight),
)
"""All that is measured of a classification."""
