"""How far figures may be off for want of rows: 95 % intervals by the bootstrap.

Efron and Tibshirani 1993, "An Introduction to the Bootstrap", percentile intervals. A resample is a row of weights, so
that all metrics take the same ones, and a metric takes all at once; two models on the same weights are paired.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from shoal_training.evaluation.metric import Metric, Values, Weights
from shoal_training.onnx_samples import Array

RESAMPLES: Final = 1000
LEAST_RESAMPLES: Final = 100
MOST_DRAWS: Final = 20_000_000
"""Rows of all resamples together: of many rows there are fewer resamples, which their intervals need less."""
_BLOCK_VALUES: Final = 8_000_000
_LEAST_DEFINED: Final = 0.9
"""Share of the resamples that a metric has to be defined on."""
_ENDS: Final = (0.025, 0.975)


class Interval(NamedTuple):
    """Where a figure lies in 95 of 100 such samples."""

    low: float
    high: float


def resamples_of(rows: int, asked: int = RESAMPLES) -> int:
    """Return how many resamples are drawn of so many rows."""
    return max(min(asked, LEAST_RESAMPLES), min(asked, MOST_DRAWS // max(1, rows)))


def weights_of(rows: int, resamples: int, seed: int) -> Iterator[Weights]:
    """Yield resamples of rows with replacement, some at a time: (some, rows) counts that sum to `rows` each."""
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK_VALUES // max(1, rows))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = random.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def intervals(
    metrics: Sequence[Metric], truth: Array, scores: Array, *, seed: int, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return the interval of each metric by name; those that few resamples define have none.

    Args:
        metrics: Are measured.
        truth: (n,), see `Metric`.
        scores: Of the same rows.
        seed: Decides the resamples.
        resamples: Most that are drawn.
    """
    found: dict[str, list[Values]] = {metric.name: [] for metric in metrics}
    for weights in weights_of(len(truth), resamples_of(len(truth), resamples), seed):
        for metric in metrics:
            found[metric.name].append(metric.over(truth, scores, weights))
    known = {name: interval_of(np.concatenate(values)) for name, values in found.items() if values}
    return {name: one for name, one in known.items() if one is not None}


def interval_of(values: Values) -> Interval | None:
    """Return the interval of a figure's values on resamples, (resamples,); None: too few of them are numbers."""
    defined = values[np.isfinite(values)]
    if not len(values) or len(defined) < _LEAST_DEFINED * len(values):
        return None
    low, high = np.quantile(defined, _ENDS)
    return Interval(float(low), float(high))
