"""The shares by which drift is watched: of a feature's values below its reference's quantiles, in a category, missing.

A distribution has moved by a distance (Kolmogorov-Smirnov's, at these quantiles) if one of the shares has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import DriftError
from shoal_numerics.histogram import Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Below which the shares of a numeric feature are taken, at the nearest edges."""
MAX_CATEGORIES = 8
"""The most frequent categories that have a share of their own."""

MAX_STRETCHES = 12
"""Ranges of other categories that are watched."""

_REST_SHARE = 0.2
_HEAVY_SHARE = 0.05
"""From which on a bin is watched at both of its ends."""


class Shares:
    """What one window says: `share` (shares,) float64, NaN where there is no value; `size` (shares,) int64 values."""

    __slots__ = ("share", "size")

    def __init__(self, share: NDArray[np.float64], size: NDArray[np.int64]) -> None:
        self.share = share
        self.size = size


@dataclass(frozen=True, eq=False)
class WatchedShares:
    """Which shares are watched, and what they were in the reference. All arrays are (shares,), feature after feature.

    Attributes:
        features: number of features.
        feature: int64, the feature of each share, rising.
        first: int64, the flat bin with which the share's range of bins begins.
        stop: int64, the flat bin before which it ends; equal to `first` for the share of missing values.
        expected: float64, the share in the reference, 0 to 1.
        reference_size: int64, the values of the reference that it was taken from.
    """

    features: int
    feature: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    expected: NDArray[np.float64]
    reference_size: NDArray[np.int64]

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """Which shares are of missing values, (shares,) bool."""
        is_missing: NDArray[np.bool_] = self.first == self.stop
        return is_missing

    @classmethod
    def of(cls, reference: Histogram, categorical: Sequence[int] = ()) -> WatchedShares:
        """Choose the shares of a reference.

        Args:
            reference: histogram of the reference data.
            categorical: the features whose bins are categories.

        Raises:
            DriftError: a reference without rows, or a categorical feature that it does not have.
        """
        count = reference.edges.feature_count
        if reference.row_count == 0:
            message = "Choosing watched shares: the reference histogram is empty. Register the version with a baseline."
            raise DriftError(message)
        unknown = sorted(set(categorical) - set(range(count)))
        if unknown:
            message = f"Choosing watched shares: feature {unknown[0]} is called categorical, there are {count}."
            raise DriftError(message)
        ranges = [_ranges(reference.of_feature(at), at in categorical) for at in range(count)]
        feature = np.repeat(np.arange(count), [len(found) for found in ranges])
        starts = reference.edges.bin_offsets[feature]
        flat = np.array([pair for found in ranges for pair in found], dtype=np.int64)
        unknown_yet = np.empty(0), np.empty(0, dtype=np.int64)
        chosen = cls(count, feature, flat[:, 0] + starts, flat[:, 1] + starts, *unknown_yet)
        found = chosen.shares_of(reference)
        return cls(count, feature, chosen.first, chosen.stop, np.nan_to_num(found.share), found.size)

    def shares_of(self, window: Histogram) -> Shares:
        """Return the shares of a window that was counted over the reference's edges."""
        before = np.concatenate([[0], np.cumsum(window.counts)])
        counted = np.where(self.is_missing, window.missing[self.feature], before[self.stop] - before[self.first])
        size = np.where(self.is_missing, window.row_count, window.samples[self.feature])
        share = np.divide(counted, size, out=np.full(len(size), np.nan), where=size > 0)
        return Shares(share, size)


def _ranges(counts: NDArray[np.int64], is_categorical: bool) -> list[tuple[int, int]]:
    """Return ranges of a feature's bins, from and to before; the last one, which is empty, is of missing values."""
    total = counts.sum()
    if is_categorical:
        frequent = [int(at) for at in np.argsort(-counts, kind="stable")[:MAX_CATEGORIES] if counts[at]]
        alone = [(at, at + 1) for at in sorted(frequent)]
        return [*alone, *_stretches(frequent, counts), (0, 0)]
    reached = np.searchsorted(np.cumsum(counts), np.array(QUANTILES) * total)
    heavy = reached[counts[reached] >= _HEAVY_SHARE * total]  # a frequent value is left upwards or downwards
    stops = sorted({int(stop) for stop in (*(reached + 1), *heavy) if 0 < stop < len(counts)})
    return [*((0, stop) for stop in stops), (0, 0)]


def _stretches(frequent: Sequence[int], counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return ranges of the bins between frequent categories: without counts, or of at most a fifth of all values.

    Values that the reference has not, and rare ones, of which each is too small a share to be missed, show there. Where
    there are too many, the outermost and those of most values are taken.
    """
    found: list[tuple[int, int]] = []
    most = _REST_SHARE * counts.sum()
    start = 0
    for stop in range(1, len(counts) + 1):
        held = counts[start:stop]
        is_open = stop < len(counts) and stop not in frequent and start not in frequent
        if is_open and bool(counts[stop]) == bool(counts[start]) and held.sum() + counts[stop] <= most:
            continue
        if start not in frequent:
            found.append((start, stop))
        start = stop

    def rank(one: tuple[int, int]) -> tuple[bool, int, int]:
        return one[0] > 0 and one[1] < len(counts), -int(counts[one[0] : one[1]].sum()), one[0] - one[1]

    return sorted(sorted(found, key=rank)[:MAX_STRETCHES])
