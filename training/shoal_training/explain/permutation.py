"""Permutation importance: how much worse a model is where one column is shuffled (Breiman 2001), by scikit-learn."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal_training.evaluation.metric import Metric
from shoal_training.onnx_samples import Array

Score = Callable[[NDArray[np.float64]], Array]
"""What a model says of rows, (n, columns)."""


class PermutationImportance(NamedTuple):
    """By column: mean and deviation over repeats of what the metric loses, in its unit; above 0 it is worse."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


class _Model:
    """What scikit-learn takes for an estimator."""

    def __init__(self, score: Score) -> None:
        self.score_rows = score

    def fit(self, x: Any, y: Any = None) -> "_Model":  # noqa: ANN401, ARG002 - its interface
        return self


def permutation_importance(
    score: Score, rows: NDArray[np.float64], truth: Array | None, metric: Metric, *, repeats: int, seed: int
) -> PermutationImportance:
    """Shuffle each column in turn.

    Args:
        score: The model.
        rows: (n, columns).
        truth: (n,); None: what the model says of the rows as they are stands in for it, and the mean change is told.
        metric: That is looked at where there is a truth.
        repeats: How often each column is shuffled.
        seed: Decides how.
    """
    from sklearn.inspection import permutation_importance as of_columns

    plain = None if truth is not None else score(rows)
    sign = 1.0 if metric.is_rising else -1.0

    def judged(model: _Model, x: NDArray[np.float64], y: Array) -> float:
        said = model.score_rows(x)
        if plain is not None:
            return -float(np.abs(said - plain).mean())
        return sign * metric.value(y, said)

    answers = np.zeros(len(rows)) if truth is None else truth
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = of_columns(_Model(score), rows, answers, scoring=judged, n_repeats=repeats, random_state=seed)
    return PermutationImportance(np.asarray(found.importances_mean), np.asarray(found.importances_std))
