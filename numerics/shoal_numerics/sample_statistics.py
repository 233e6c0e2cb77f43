"""A few numbers that stand for an input with too many values to watch each of them, as an image's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATISTICS: Final = ("mean", "std", "min", "max")
"""Of each input of a sample, in this order."""


def sample_statistics(inputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Return the statistics of each sample.

    The deviation comes from sums of float32 squares, a third of the time of numpy's two passes: its relative error is
    below 1e-3 where the mean is at most ten times the deviation.

    Args:
        inputs: Arrays of numbers, (n, ...) each; at least one value a sample.

    Returns:
        (n, 4 times the inputs), float32: for each input in turn, `STATISTICS` over its values.
    """
    count = len(inputs[0])
    found = np.empty((count, len(inputs), len(STATISTICS)), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for place, array in enumerate(inputs):
            rows = array.reshape(count, -1).astype(np.float32, copy=False)
            mean = rows.mean(axis=1)
            square = np.einsum("ij,ij->i", rows, rows) / rows.shape[1]
            found[:, place, 0] = mean
            found[:, place, 1] = np.sqrt(np.maximum(square - mean * mean, 0.0))
            found[:, place, 2] = rows.min(axis=1)
            found[:, place, 3] = rows.max(axis=1)
    return found.reshape(count, -1)
