"""What a metric is: a name, whether more is better, its value on rows, and its value on many resamples at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_training.onnx_samples import Array

Weights = NDArray[np.float64]
"""(resamples, n): how often each row was drawn; each of the rows sums to n."""
Values = NDArray[np.float64]

Measure = Callable[[Array, Array], float]
Resampled = Callable[[Array, Array, Weights], Values]

MAX_LOOPED: Final = 200
"""Resamples of a metric that can be had of one resample at a time only."""


@dataclass(frozen=True)
class Metric:
    """Something that is measured of scores on rows with a known answer.

    Attributes:
        name: By which limits, records and cards name it.
        is_rising: Whether more is better.
        value: Of the truth, (n,), and the scores, see `Task`; NaN where it is not defined on these rows.
        resampled: The same of rows by weight, (resamples,), NaN as above; None: `value` is asked once a resample.
    """

    name: str
    is_rising: bool
    value: Measure
    resampled: Resampled | None = None

    def over(self, truth: Array, scores: Array, weights: Weights) -> Values:
        """Return its value on each resample, (resamples,); one that loops looks at the first `MAX_LOOPED`."""
        if self.resampled is not None:
            return np.asarray(self.resampled(truth, scores, weights), dtype=np.float64)
        return np.array(list(self._looped(truth, scores, weights[:MAX_LOOPED])), dtype=np.float64)

    def is_better(self, first: float, second: float) -> bool:
        """Whether the first value is better than the second."""
        return first > second if self.is_rising else first < second

    def _looped(self, truth: Array, scores: Array, weights: Weights) -> Iterator[float]:
        for counts in weights:
            drawn = np.repeat(np.arange(len(truth)), counts.astype(np.int64))
            yield self.value(truth[drawn], scores[drawn])


def rising(name: str, value: Measure, resampled: Resampled | None = None) -> Metric:
    """Return a metric of which more is better."""
    return Metric(name, is_rising=True, value=value, resampled=resampled)


def falling(name: str, value: Measure, resampled: Resampled | None = None) -> Metric:
    """Return a metric of which less is better."""
    return Metric(name, is_rising=False, value=value, resampled=resampled)


def mean_of(rows: Callable[[Array, Array], Array]) -> Resampled:
    """Return the resampled form of a metric that is the mean of one number a row, (n,)."""

    def resampled(truth: Array, scores: Array, weights: Weights) -> Values:
        return np.asarray(weights @ rows(truth, scores).astype(np.float64) / weights.sum(axis=1))

    return resampled
