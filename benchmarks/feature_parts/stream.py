"""The stream that both sides compute: vibration of several pumps, four fields, a thousand events a second each."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FIELDS = ("w", "x", "y", "z")
AGGREGATES = ("mean", "std", "min", "max", "last")
SIZE, EVERY = 100, 10
"""Events of a sliding window, and of its step."""
WINDOW_MS = 1000
"""Of a tumbling window."""


class Stream(NamedTuple):
    """Events in order of time.

    Attributes:
        entities: (n,) int64, which pump.
        times_ns: (n,) int64.
        values: (n, 4) float64.
    """

    entities: NDArray[np.int64]
    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]


def make_stream(events: int, entities: int) -> Stream:
    """Return a stream in which pumps take turns at random."""
    random = np.random.default_rng(0)
    times_ns = np.arange(events) * (1_000_000 // entities)
    values = np.cumsum(random.normal(size=(events, len(FIELDS))), axis=0)
    return Stream(random.integers(0, entities, size=events), times_ns, values)
