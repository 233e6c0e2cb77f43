"""Metrics of anomalies with known answers: truth is 1 for an anomaly and 0 else, (n,); the odder, the higher the score.

A threshold makes alarms of scores; it is chosen on rows that were learned from, or given.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from shoal_training.evaluation.metric import Metric, Values, Weights, rising
from shoal_training.evaluation.ranking import area_by_weight, average_precision_by_weight
from shoal_training.onnx_samples import Array


def anomaly_metrics(threshold: float | None) -> tuple[Metric, ...]:
    """Return what is measured.

    Args:
        threshold: Above which a score is an alarm; None: nothing is measured that depends on one.
    """
    ranked = (
        rising("auc_roc", _auc, lambda truth, scores, weights: area_by_weight(_is_odd(truth), scores, weights)),
        rising(
            "average_precision",
            _average_precision,
            lambda truth, scores, weights: average_precision_by_weight(_is_odd(truth), scores, weights),
        ),
    )
    if threshold is None:
        return ranked
    return (
        *ranked,
        rising("precision_at_threshold", partial(_precision, threshold), partial(_precision_by_weight, threshold)),
        rising("recall_at_threshold", partial(_recall, threshold), partial(_recall_by_weight, threshold)),
    )


def chosen_threshold(scores: Array, alarm_share: float) -> float:
    """Return the threshold that this share (0..1) of the given scores, (n,), lies above."""
    return float(np.quantile(scores.astype(np.float64), 1 - alarm_share))


def _is_odd(truth: Array) -> NDArray[np.bool_]:
    return np.asarray(truth > 0.5)  # noqa: PLR2004 - between 0 and 1


def _auc(truth: Array, scores: Array) -> float:
    from sklearn.metrics import roc_auc_score

    is_odd = _is_odd(truth)
    return float(roc_auc_score(is_odd, scores)) if is_odd.any() and not is_odd.all() else float("nan")


def _average_precision(truth: Array, scores: Array) -> float:
    from sklearn.metrics import average_precision_score

    is_odd = _is_odd(truth)
    return float(average_precision_score(is_odd, scores)) if is_odd.any() else float("nan")


def _precision(threshold: float, truth: Array, scores: Array) -> float:
    return float(_precision_by_weight(threshold, truth, scores, np.ones((1, len(truth))))[0])


def _recall(threshold: float, truth: Array, scores: Array) -> float:
    return float(_recall_by_weight(threshold, truth, scores, np.ones((1, len(truth))))[0])


def _precision_by_weight(threshold: float, truth: Array, scores: Array, weights: Weights) -> Values:
    return _share(_is_odd(truth), scores > threshold, weights)


def _recall_by_weight(threshold: float, truth: Array, scores: Array, weights: Weights) -> Values:
    return _share(scores > threshold, _is_odd(truth), weights)


def _share(is_counted: NDArray[np.bool_], among: NDArray[np.bool_], weights: Weights) -> Values:
    """Return the share of the weight of some rows that others have as well; NaN where there are none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ (is_counted & among).astype(np.float64) / (weights @ among.astype(np.float64)))
