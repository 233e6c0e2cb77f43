"""Real, dated rows as streams: a reference of the first year's rows, the rest of that year, then the years after it.

NumPy alone, so that each peer makes the same streams. Where the rows come from: `dated_sources`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WINDOW = 32
"""Rows of a window."""


class Stream(NamedTuple):
    """One order of the rows: (rows, features) float32 each; `turns_at` is the row with which the second year begins."""

    reference: Floats
    rows: Floats
    turns_at: int


class Dated(NamedTuple):
    """Rows with the year that they are of: `rows` (rows, features) float32, `year` (rows,), `categorical` features."""

    rows: Floats
    year: NDArray[np.int64]
    categorical: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> "Dated":
        """Read what `save` wrote."""
        with np.load(path) as found:
            return cls(found["rows"], found["year"], found["categorical"])

    def save(self, path: Path) -> None:
        """Write it for the peers."""
        np.savez(path, **self._asdict())

    def stream(self, seed: int) -> Stream:
        """Put the rows of each year in an order of chance; a half of the first year's becomes the reference."""
        random = np.random.default_rng(seed)
        first, *later = np.unique(self.year)
        parts = [random.permutation(np.flatnonzero(self.year == year)) for year in (first, *later)]
        half = len(parts[0]) // 2
        rest = np.concatenate([parts[0][half:], *parts[1:]])
        return Stream(self.rows[parts[0][:half]], self.rows[rest], len(parts[0]) - half)


def first_alarm(stream: Stream, is_drift: Callable[[Floats], bool], every: int = WINDOW) -> int | None:
    """Return how many rows of the second year had come at the first alarm; -1 for one before; None without one.

    Args:
        stream: what is watched.
        is_drift: is given each window, and says whether there is drift.
        every: rows of a window.
    """
    for stop in range(every, len(stream.rows) + 1, every):
        if is_drift(stream.rows[stop - every : stop]):
            return max(stop - stream.turns_at, -1)
    return None
