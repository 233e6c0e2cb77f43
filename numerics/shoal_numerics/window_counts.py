"""The counts of one window on a device, in a quarter of the memory of `Histogram`, in half where the window is large.

What comes out is a `Histogram`, which merges, packs and compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from shoal_numerics.edges import HistogramEdges
from shoal_numerics.errors import HistogramError
from shoal_numerics.histogram import Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_WINDOW_ROWS: Final = (1 << 31) - 1
"""Rows of one window; no count of a bin can overflow, as each row is counted once in each feature."""
MAX_SMALL_ROWS: Final = (1 << 16) - 1
"""Rows up to which counts take 2 bytes each, then 4."""


class WindowCounts:
    """Counts per bin and missing values per feature, 2 bytes each, 4 once there are many. Not safe for concurrent use.

    Args:
        edges: The bins.
    """

    def __init__(self, edges: HistogramEdges) -> None:
        self._edges = edges
        self._counts: NDArray[np.unsignedinteger[Any]] = np.zeros(edges.bin_total, dtype=np.uint16)
        self._missing: NDArray[np.unsignedinteger[Any]] = np.zeros(edges.feature_count, dtype=np.uint16)
        self._rows = 0

    @property
    def room(self) -> int:
        """Rows that may still be added."""
        return MAX_WINDOW_ROWS - self._rows

    @property
    def is_small(self) -> bool:
        """Whether counts take 2 bytes each."""
        return self._counts.dtype == np.uint16

    @property
    def nbytes(self) -> int:
        """Bytes of the counts."""
        return self._counts.nbytes + self._missing.nbytes

    def add(self, rows: NDArray[np.float32]) -> None:
        """Count rows.

        Args:
            rows: (n, features) float32; NaN counts as missing, infinities fall into the outer bins.

        Raises:
            HistogramError: Another number of features than the edges have, or more rows than `room`.
        """
        if rows.shape != (len(rows), self._edges.feature_count) or len(rows) > self.room:
            message = (
                f"Adding {rows.shape} values to a window's counts: expected {self._edges.feature_count} features and "
                f"at most {self.room} rows. End the window before."
            )
            raise HistogramError(message)
        if self._rows + len(rows) > MAX_SMALL_ROWS and self.is_small:
            self._counts, self._missing = self._counts.astype(np.uint32), self._missing.astype(np.uint32)
        self._edges.count(rows, self._counts, self._missing)
        self._rows += len(rows)

    def histogram(self) -> Histogram:
        """Return what was counted so far."""
        return Histogram(self._edges, self._counts.astype(np.int64), self._missing.astype(np.int64))
