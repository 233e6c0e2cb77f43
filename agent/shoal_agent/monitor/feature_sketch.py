"""The counts of what one version was given: a few waiting rows and the bins of each feature, in constant memory."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_agent.monitor.budget import SketchBudget
from shoal_numerics import Histogram, HistogramEdges, WindowCounts

BUFFER_ROWS: Final = 48
"""Rows that wait to be binned together, which is what makes watching cheap: 192 bytes a feature."""
BUFFER_BYTES: Final = 1024 * 1024
_FLOAT32_BYTES: Final = 4


class FeatureSketch:
    """Counts rows over fixed bins. Not safe for concurrent use.

    Args:
        edges: The bins.
        budget: Says how many rows are sketched.
    """

    def __init__(self, edges: HistogramEdges, budget: SketchBudget) -> None:
        self._width = edges.feature_count
        self.row_bytes = _FLOAT32_BYTES * self._width
        self._budget = budget
        self._counts = WindowCounts(edges)
        capacity = max(1, min(BUFFER_ROWS, BUFFER_BYTES // self.row_bytes))
        self._waiting = memoryview(bytearray(capacity * self.row_bytes))
        self._rows = np.frombuffer(self._waiting, dtype=np.float32).reshape(capacity, self._width)
        self._waiting_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes that grow with the number of features: counts, missing values, waiting rows."""
        return self._counts.nbytes + self._rows.nbytes

    def add_one(self, row: bytes, now_s: float) -> None:
        """Count one row if the budget lets it in, float32 as this machine has it, `row_bytes` long."""
        if not self._budget.takes_one(self._width, now_s):
            return
        start = self._waiting_bytes
        end = self._waiting_bytes = start + self.row_bytes
        self._waiting[start:end] = row
        if end == len(self._waiting):
            self._flush()

    def add(self, rows: NDArray[np.float32], now_s: float) -> None:
        """Count those of (n, features) float32 rows that the budget lets in; copied."""
        taken = self._budget.take(rows, now_s)
        filled = self._waiting_bytes // self.row_bytes
        if filled + len(taken) >= len(self._rows):
            self._flush()
            filled = 0
        if len(taken) >= len(self._rows):
            self._bin(taken)
        else:
            self._rows[filled : filled + len(taken)] = taken
            self._waiting_bytes += len(taken) * self.row_bytes

    def finish(self) -> Histogram:
        """Return everything counted."""
        self._flush()
        return self._counts.histogram()

    def _flush(self) -> None:
        if self._waiting_bytes:
            self._bin(self._rows[: self._waiting_bytes // self.row_bytes])
            self._waiting_bytes = 0

    def _bin(self, rows: NDArray[np.float32]) -> None:
        self._counts.add(rows[: self._counts.room])
