"""Metrics of regressions: truth and scores are (n,) numbers. Values are scikit-learn's, where it has them."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_training.evaluation.metric import Values, Weights, falling, mean_of, rising
from shoal_training.onnx_samples import Array

QUANTILES: Final = (0.5, 0.9, 0.95)
_NEAR_ZERO: Final = 1e-6
"""Of the mean size of the truth: a percentage of less says nothing."""
_LEAST_KEPT: Final = 0.5
"""Share of rows that have to be left for a mean of percentages."""


def _wide(truth: Array, scores: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return truth.astype(np.float64), scores.astype(np.float64).reshape(len(scores))


def _errors(truth: Array, scores: Array) -> NDArray[np.float64]:
    known, found = _wide(truth, scores)
    return np.abs(found - known)


def mean_absolute_error(truth: Array, scores: Array) -> float:
    """Return the mean distance of scores and truth, 0 or more, in the target's unit."""
    from sklearn.metrics import mean_absolute_error as of_rows

    return float(of_rows(*_wide(truth, scores)))


def _root_mean_squared_error(truth: Array, scores: Array) -> float:
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(*_wide(truth, scores)))


def _root_by_weight(truth: Array, scores: Array, weights: Weights) -> Values:
    return np.asarray(np.sqrt(weights @ _errors(truth, scores) ** 2 / weights.sum(axis=1)))


def _r2(truth: Array, scores: Array) -> float:
    from sklearn.metrics import r2_score

    known, found = _wide(truth, scores)
    return float(r2_score(known, found)) if np.ptp(known) > 0 else float("nan")


def _r2_by_weight(truth: Array, scores: Array, weights: Weights) -> Values:
    known = truth.astype(np.float64) - float(truth.astype(np.float64).mean())
    total = weights.sum(axis=1)
    spread = weights @ known**2 - (weights @ known) ** 2 / total
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 1 - (weights @ _errors(truth, scores) ** 2) / spread
    return np.asarray(np.where(spread > np.finfo(np.float64).eps * total, found, np.nan))


def _has_size(truth: Array) -> NDArray[np.bool_]:
    size = np.abs(truth.astype(np.float64))
    return np.asarray(size > _NEAR_ZERO * size.mean())


def _percentage(truth: Array, scores: Array) -> float:
    """Return the mean error as a share of the truth, of rows where that is not near 0; NaN where most are."""
    from sklearn.metrics import mean_absolute_percentage_error

    kept = _has_size(truth)
    if kept.mean() < _LEAST_KEPT:
        return float("nan")
    known, found = _wide(truth, scores)
    return float(mean_absolute_percentage_error(known[kept], found[kept]))


def _percentage_by_weight(truth: Array, scores: Array, weights: Weights) -> Values:
    kept = _has_size(truth)
    shares = _errors(truth, scores)[kept] / np.abs(truth.astype(np.float64)[kept])
    with np.errstate(invalid="ignore"):
        return np.asarray(weights[:, kept] @ shares / weights[:, kept].sum(axis=1))


def _quantile(share: float, truth: Array, scores: Array) -> float:
    return float(np.quantile(_errors(truth, scores), share, method="inverted_cdf"))


def _quantile_by_weight(share: float, truth: Array, scores: Array, weights: Weights) -> Values:
    errors = _errors(truth, scores)
    order = np.argsort(errors)
    reached = np.cumsum(weights[:, order], axis=1)
    asked = share * reached[:, -1:] * (1 - 1e-12)  # a sum of counts is exact, their product with the share is not
    return np.asarray(errors[order][np.argmax(reached >= asked, axis=1)])


_by_quantile: Callable[[float], str] = "absolute_error_p{:g}".format

REGRESSION: Final = (
    falling("mean_absolute_error", mean_absolute_error, mean_of(_errors)),
    falling("root_mean_squared_error", _root_mean_squared_error, _root_by_weight),
    rising("r2", _r2, _r2_by_weight),
    falling("mean_absolute_percentage_error", _percentage, _percentage_by_weight),
    *(
        falling(_by_quantile(100 * share), partial(_quantile, share), partial(_quantile_by_weight, share))
        for share in QUANTILES
    ),
)
"""All that is measured of a regression."""
