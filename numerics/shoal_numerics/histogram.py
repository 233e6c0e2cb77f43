"""Mergeable histograms over fixed edges: the constant-memory sketch of inputs, predictions and latencies.

The same class serves feature batches and scalars (one feature). Counts merge exactly, whatever the order;
packing.py turns the padded counts into bytes, drift.py compares two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.edges import HistogramEdges, as_rows
from shoal_numerics.errors import HistogramError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_ROWS", "Histogram", "HistogramEdges"]

MAX_ROWS = 1 << 48
"""The most rows a histogram may hold: sums of counts then stay far from the range of int64."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts per bin and missing values per feature; every row is counted once in each feature.

    Not safe for concurrent `add`: one owner counts, others merge.

    Attributes:
        edges: the bins.
        counts: (edges.bin_total,) int64, feature after feature, see `HistogramEdges.bin_offsets`.
        missing: (features,) int64, the NaN values of each feature.
    """

    edges: HistogramEdges
    counts: NDArray[np.int64]
    missing: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check that the counts fit the edges and add up.

        Raises:
            HistogramError: wrong shape or dtype, negative or excessive counts, or features whose counts and
                missing values do not add up to the same number of rows.
        """
        _check_counts(self.edges, self.counts, self.missing)

    @classmethod
    def empty(cls, edges: HistogramEdges) -> Histogram:
        """Return a histogram that has counted nothing."""
        return cls(
            edges=edges,
            counts=np.zeros(edges.bin_total, dtype=np.int64),
            missing=np.zeros(edges.feature_count, dtype=np.int64),
        )

    @classmethod
    def of(cls, edges: HistogramEdges, batch: ArrayLike) -> Histogram:
        """Return the histogram of one batch, see `add`."""
        histogram = cls.empty(edges)
        histogram.add(batch)
        return histogram

    @classmethod
    def from_padded(cls, edges: HistogramEdges, counts: NDArray[np.int64], missing: NDArray[np.int64]) -> Histogram:
        """Build a histogram from counts that came over the wire (the inverse of `padded`).

        Args:
            edges: the bins of the baseline that the counts were made against.
            counts: (features, most bins of any feature) int64, flat or not.
            missing: (features,) int64, flat or not.

        Raises:
            HistogramError: another shape, counts in bins that a feature does not have, or see the class.
        """
        features, width = edges.padded_shape
        if counts.size != features * width:
            message = f"Building a histogram: found {counts.size} counts, expected {features} x {width}."
            raise HistogramError(message)
        is_bin = _is_bin(edges)
        padded = counts.reshape(features, width)
        if padded[~is_bin].any():
            message = "Building a histogram: there are counts in bins that a feature does not have. Refuse the sketch."
            raise HistogramError(message)
        return cls(edges, padded[is_bin], missing.ravel().copy())

    def padded(self) -> NDArray[np.int64]:
        """Return the counts as (features, most bins of any feature) int64; shorter features end in zeros."""
        counts = np.zeros(self.edges.padded_shape, dtype=np.int64)
        counts[_is_bin(self.edges)] = self.counts
        return counts

    @property
    def row_count(self) -> int:
        """Number of rows counted, missing values included."""
        return int(self.missing[0] + self.of_feature(0).sum())

    @property
    def samples(self) -> NDArray[np.int64]:
        """Number of values counted in each feature, missing ones left out: (features,) int64."""
        return self.row_count - self.missing

    def of_feature(self, feature: int) -> NDArray[np.int64]:
        """Return the counts of one feature, (bins,) int64."""
        start, stop = self.edges.bin_offsets[feature : feature + 2]
        return self.counts[start:stop]

    def add(self, batch: ArrayLike) -> None:
        """Count a batch in place; memory beyond the counts is bounded whatever the size of the batch.

        Args:
            batch: (n, features) float32; (n,) where there is one feature. NaN counts as missing, infinities
                fall into the outer bins. Other real dtypes are rounded to float32 first.

        Raises:
            HistogramError: not numbers, or another number of features than the edges have.
        """
        rows = as_rows(batch)
        if rows.shape[1] != self.edges.feature_count:
            message = (
                f"Adding a batch to a histogram: found {rows.shape[1]} features, "
                f"expected {self.edges.feature_count}, as the edges have."
            )
            raise HistogramError(message)
        self.edges.count(rows, self.counts, self.missing)

    def merge(self, other: Histogram) -> Histogram:
        """Return the histogram of both together: exact, commutative and associative.

        Raises:
            HistogramError: the two have different edges, or too many rows together.
        """
        if self.edges.sha256 != other.edges.sha256:
            message = (
                f"Merging histograms: edges {self.edges.sha256[:12]} and {other.edges.sha256[:12]} differ. "
                "Only sketches against the same baseline merge; set the other one aside."
            )
            raise HistogramError(message)
        return Histogram(self.edges, self.counts + other.counts, self.missing + other.missing)


def _is_bin(edges: HistogramEdges) -> NDArray[np.bool_]:
    """Mark the places of a padded array that are bins, (features, most bins of any feature) bool."""
    is_bin: NDArray[np.bool_] = np.arange(edges.padded_shape[1]) < np.diff(edges.bin_offsets)[:, np.newaxis]
    return is_bin


def _check_counts(edges: HistogramEdges, counts: NDArray[np.int64], missing: NDArray[np.int64]) -> None:
    """Raise HistogramError unless the counts keep the rules of `Histogram`."""
    doing = "Building a histogram"
    expected = ((edges.bin_total,), (edges.feature_count,))
    if (counts.shape, missing.shape) != expected or {counts.dtype, missing.dtype} != {np.dtype(np.int64)}:
        message = (
            f"{doing}: counts {counts.dtype}{counts.shape} and missing {missing.dtype}{missing.shape} do not "
            f"fit the edges, expected int64{expected[0]} and int64{expected[1]}."
        )
        raise HistogramError(message)
    if min(counts.min(), missing.min()) < 0 or max(counts.max(), missing.max()) > MAX_ROWS:
        message = f"{doing}: a count is negative or above {MAX_ROWS}. Refuse the sender's sketch."
        raise HistogramError(message)
    rows = np.add.reduceat(counts, edges.bin_offsets[:-1]) + missing
    if rows.min() != rows.max() or rows[0] > MAX_ROWS:
        message = (
            f"{doing}: counts do not add up, features hold {rows.min()} to {rows.max()} rows, expected the "
            f"same number in each, at most {MAX_ROWS}. Refuse the sender's sketch."
        )
        raise HistogramError(message)
