"""The counts of what one version was given: a few waiting rows and the bins of each feature, in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_agent.monitor.budget import SketchBudget
from shoal_numerics import Histogram, HistogramEdges, WindowCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUFFER_ROWS: Final = 96
"""Rows that wait to be binned together, which is what makes watching cheap: 384 bytes a feature."""
BUFFER_ROWS_OF_LARGE: Final = 48
"""Rows that wait where many have come, as the counts take more then."""
BUFFER_BYTES: Final = 1024 * 1024
_FLOAT32_BYTES: Final = 4


class FeatureSketch:
    """Counts rows over fixed bins. Not safe for concurrent use.

    Args:
        edges: The bins.
        budget: Says how many rows are sketched.
    """

    def __init__(self, edges: HistogramEdges, budget: SketchBudget) -> None:
        self.seen = 0
        """Rows that came, whether the budget let them in or not."""
        self._width = edges.feature_count
        self.row_bytes = _FLOAT32_BYTES * self._width
        self._budget = budget
        self._counts = WindowCounts(edges)
        self._resize(BUFFER_ROWS)
        self._waiting_bytes = 0
        self._granted_bytes = 0
        """Up to where rows may wait: what the budget has granted beforehand."""

    @property
    def nbytes(self) -> int:
        """Bytes that grow with the number of features: counts, missing values, waiting rows."""
        return self._counts.nbytes + self._rows.nbytes

    def add_one(self, row: NDArray[np.float32], now_s: float) -> None:
        """Count one row if the budget lets it in; of any shape that has the features. Copied."""
        self.seen += 1
        start = self._waiting_bytes
        if start >= self._granted_bytes:
            start = self._make_room(now_s)
            if start >= self._granted_bytes:
                return
        end = self._waiting_bytes = start + self.row_bytes
        self._waiting[start:end] = row.tobytes()

    def add(self, rows: NDArray[np.float32], now_s: float) -> None:
        """Count those of (n, features) float32 rows that the budget lets in; copied."""
        self.seen += len(rows)
        taken = self._budget.choose(rows, now_s)
        if self._waiting_bytes + taken.nbytes > len(self._waiting):
            self._flush()
        if taken.nbytes > len(self._waiting):
            self._bin(taken)
            return
        filled = self._waiting_bytes // self.row_bytes
        self._rows[filled : filled + len(taken)] = taken
        self._waiting_bytes += taken.nbytes
        # What was granted for later rows still is, as far as there is room for them.
        ahead_bytes = self._granted_bytes + taken.nbytes
        self._granted_bytes = min(ahead_bytes, len(self._waiting))
        self._budget.give_back((ahead_bytes - self._granted_bytes) // self.row_bytes, self._width)

    def close(self) -> None:
        """Count no more, and give back what the budget has granted for rows that will not come."""
        if self._granted_bytes > self._waiting_bytes:
            self._budget.give_back((self._granted_bytes - self._waiting_bytes) // self.row_bytes, self._width)
        self._granted_bytes = self._waiting_bytes

    def finish(self) -> Histogram:
        """Return everything counted; after `close`, which is all that other threads must not come between."""
        self._flush()
        return self._counts.histogram()

    def _make_room(self, now_s: float) -> int:
        """Have the budget grant rows that may wait, and return where the next one goes."""
        if self._waiting_bytes == len(self._waiting):
            self._flush()
        free = (len(self._waiting) - self._waiting_bytes) // self.row_bytes
        granted = self._budget.grant(free, self._width, now_s)
        self._granted_bytes = self._waiting_bytes + granted * self.row_bytes
        return self._waiting_bytes

    def _flush(self) -> None:
        """Bin the rows that wait, and give back what was granted for others."""
        self.close()
        filled = self._waiting_bytes // self.row_bytes
        self._waiting_bytes = self._granted_bytes = 0
        self._bin(self._rows[:filled])

    def _bin(self, rows: NDArray[np.float32]) -> None:
        if len(rows):
            was_small = self._counts.is_small
            self._counts.add(rows[: self._counts.room])
            if was_small and not self._counts.is_small:
                self._resize(BUFFER_ROWS_OF_LARGE)

    def _resize(self, most: int) -> None:
        """Have room for so many rows to wait, or as many as fit; none may wait now."""
        capacity = max(1, min(most, BUFFER_BYTES // self.row_bytes))
        self._waiting = memoryview(bytearray(capacity * self.row_bytes))
        self._rows = np.frombuffer(self._waiting, dtype=np.float32).reshape(capacity, self._width)
