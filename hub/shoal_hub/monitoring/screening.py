"""Looks at many windows of one version at once: whether their counts can be, how far they lie, which may have drifted.

What `detect_drift` says of one window takes a hundred short steps; for nearly all of them it is known before that
nothing has drifted. Those that may have are looked at by it, one by one. Pure.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal_numerics import DriftThresholds, Histogram
from shoal_numerics.drift import PSI_SHARE_FLOOR
from shoal_numerics.histogram import MAX_ROWS

THRESHOLDS: Final = DriftThresholds(psi=0.25, p_value=0.001, min_samples=100, min_features=3)
"""Above the numerics' defaults: many features are tested at each window, and a false alarm costs a person's time."""
_ROUNDING: Final = 1 - 1e-9
"""Sums of another order may differ by so much: what is this near to a threshold is looked at."""


class Screened(NamedTuple):
    """What is known of n windows.

    Attributes:
        rows: Rows counted, (n,) int64; of counts that cannot be, -1.
        drift: The largest Kolmogorov-Smirnov distance of a feature, (n,) float64; NaN where none had enough samples.
        is_tested: Whether a feature had enough samples, (n,) bool.
        may_raise: False where `detect_drift` would raise nothing, (n,) bool.
    """

    rows: NDArray[np.int64]
    drift: NDArray[np.float64]
    is_tested: NDArray[np.bool_]
    may_raise: NDArray[np.bool_]


class Screen:
    """What windows of one version are held against.

    Args:
        reference: The baseline's counts.
        categorical: The features that are categories: their index is taken bin by bin.
    """

    def __init__(self, reference: Histogram, categorical: Sequence[int] = ()) -> None:
        counts = reference.padded()
        self.shape = counts.shape
        bins = np.diff(reference.edges.bin_offsets)
        self._is_no_bin = np.flatnonzero(np.arange(self.shape[1]) >= bins[:, np.newaxis])
        self._samples = reference.samples
        with np.errstate(invalid="ignore", divide="ignore"):
            self._distribution = np.cumsum(counts, axis=1) / self._samples[:, np.newaxis]
        self._missing_ratio = reference.missing / max(reference.row_count, 1)
        self._min_features = min(THRESHOLDS.min_features, self.shape[0])
        self._groups = _Groups(counts, self._samples)
        self._categorical = np.array(categorical, dtype=np.int64)
        self._shares = _shares_of(counts[self._categorical])

    def screen(self, counts: NDArray[np.int64], missing: NDArray[np.int64]) -> Screened:
        """Look at windows.

        Args:
            counts: (n, features, bins) int64, at least 0, padded as `Histogram.padded`.
            missing: (n, features) int64, at least 0.
        """
        cumulated = np.cumsum(counts, axis=2)
        samples = cumulated[:, :, -1]
        rows = samples + missing
        can_be = (rows.min(axis=1) == rows.max(axis=1)) & (rows[:, 0] <= MAX_ROWS)
        if len(self._is_no_bin):
            can_be &= ~counts.reshape(len(counts), -1)[:, self._is_no_bin].any(axis=1)
        is_tested = (samples >= THRESHOLDS.min_samples) & (self._samples > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            gaps = cumulated / samples[:, :, np.newaxis]
        gaps -= self._distribution
        distance = np.where(is_tested, np.abs(gaps, out=gaps).max(axis=2), -1.0).max(axis=1)
        psi = self._groups.psi(cumulated)
        if len(self._categorical):
            actual = _shares_of(counts[:, self._categorical])
            psi[:, self._categorical] = ((actual - self._shares) * np.log(actual / self._shares)).sum(axis=2)
        rise = missing / np.maximum(rows[:, :1], 1) - self._missing_ratio
        has_enough = rows[:, :1] >= THRESHOLDS.min_samples
        is_moved = is_tested & (psi >= THRESHOLDS.psi * _ROUNDING)
        is_moved |= has_enough & (rise >= THRESHOLDS.missing_rise_ratio * _ROUNDING)
        return Screened(
            np.where(can_be, rows[:, 0], -1),
            np.where(distance >= 0, distance, np.nan),
            np.any(is_tested, axis=1),
            np.count_nonzero(is_moved, axis=1) >= self._min_features,
        )


def _shares_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of each bin of the last axis; zero is the index's floor, as is what there is not."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: NDArray[np.float64] = counts / counts.sum(axis=-1, keepdims=True)
    shares[shares == 0] = PSI_SHARE_FLOOR
    return shares


class _Groups:
    """The groups of bins over which `population_stability_index` adds up, by where they begin and end."""

    def __init__(self, counts: NDArray[np.int64], samples: NDArray[np.int64]) -> None:
        features, bins = counts.shape
        groups = THRESHOLDS.psi_groups or bins
        width = groups + 1
        before = np.cumsum(counts, axis=1) - counts
        group = np.minimum(groups * before // np.maximum(samples, 1)[:, np.newaxis], groups - 1)
        group = np.where(counts == 0, groups, group)
        cells = (np.arange(features)[:, np.newaxis] * width + group).ravel()
        # A cell is some runs of neighbouring bins; what a run holds is the difference of two cumulated counts.
        starts = np.flatnonzero(np.r_[True, (cells[1:] != cells[:-1]) | (np.arange(1, len(cells)) % bins == 0)])
        order = np.argsort(cells[starts], kind="stable")
        starts, ends = starts[order], np.r_[starts[1:], len(cells)][order] - 1
        self._ends, self._befores = ends, np.where(starts % bins == 0, 0, starts - 1)
        self._is_first = starts % bins == 0
        run_cells = cells[starts]
        self._cell_starts = np.flatnonzero(np.r_[True, run_cells[1:] != run_cells[:-1]])
        self._features = run_cells[self._cell_starts] // width
        self._feature_starts = np.flatnonzero(np.r_[True, self._features[1:] != self._features[:-1]])
        expected = self._sums(np.cumsum(counts, axis=1)[np.newaxis])[0]
        self._expected = self._shares(expected[np.newaxis])[0]

    def psi(self, cumulated: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the index of each feature, (n, features) float64, from (n, features, bins) cumulated counts."""
        actual = self._shares(self._sums(cumulated))
        terms = (actual - self._expected) * np.log(actual / self._expected)
        index: NDArray[np.float64] = np.add.reduceat(terms, self._feature_starts, axis=1)
        return index

    def _sums(self, cumulated: NDArray[np.int64]) -> NDArray[np.int64]:
        flat = cumulated.reshape(len(cumulated), -1)
        runs = flat[:, self._ends] - np.where(self._is_first, 0, flat[:, self._befores])
        sums: NDArray[np.int64] = np.add.reduceat(runs, self._cell_starts, axis=1)
        return sums

    def _shares(self, sums: NDArray[np.int64]) -> NDArray[np.float64]:
        totals = np.add.reduceat(sums, self._feature_starts, axis=1)[:, self._features]
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = sums / totals
        shares[shares == 0] = PSI_SHARE_FLOOR
        return shares
