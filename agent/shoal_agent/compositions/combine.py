"""How answers are combined. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from shoal_agent.engines import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def weighted_mean(answers: Sequence[Array], weights: Sequence[float]) -> Array:
    """Return the weighted mean of arrays of floating point, of their shape and datatype; computed in float64."""
    total = np.zeros(answers[0].shape, dtype=np.float64)
    for answer, weight in zip(answers, weights, strict=True):
        total += weight * answer.astype(np.float64)
    mean: Array = (total / sum(weights)).astype(answers[0].dtype)
    return mean


def vote(answers: Sequence[Array], weights: Sequence[float]) -> NDArray[np.float32]:
    """Return each class's share of the votes, of the answers' shape: the last axis is classes, and shares sum to 1.

    A member votes with its weight for the class of its largest score; of equal scores the first counts.
    """
    shares = np.zeros(answers[0].shape, dtype=np.float64)
    for answer, weight in zip(answers, weights, strict=True):
        best = np.expand_dims(answer.argmax(axis=-1), -1)
        np.put_along_axis(shares, best, np.take_along_axis(shares, best, -1) + weight, -1)
    return (shares / sum(weights)).astype(np.float32)


def confidences(probabilities: Array) -> Array:
    """Return by sample the probability of its best class, (samples,) for (samples, classes); NaN where one is NaN."""
    best: Array = probabilities.max(axis=1)
    return best
