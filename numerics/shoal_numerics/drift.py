"""Has the data moved? Compares a window's histogram with the reference's and gives a verdict with reasons.

Agents and hub share it. A verdict speaks of one window: repeating it over many windows repeats the chance of
a false alarm, which is for the caller to control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.chi_squared import chi_squared_test
from shoal_numerics.errors import DriftError
from shoal_numerics.histogram import Histogram
from shoal_numerics.kolmogorov import kolmogorov_p_value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PSI_SHARE_FLOOR = 0.0001
"""What a share of zero is set to before its logarithm is taken."""

MIN_GROUPS = 2


@dataclass(frozen=True)
class DriftThresholds:
    """What it takes to raise a drift signal.

    Attributes:
        psi: a feature's PSI must reach it (0.1 is read as a slight, 0.2 as a clear change).
        p_value: a feature's Benjamini-Hochberg adjusted p-value (KS, or chi-squared) must not exceed it.
        min_samples: a feature with fewer values in the window is not tested.
        missing_rise_ratio: a rise of the share of missing values by this much is drift by itself.
        min_features: that many drifted features raise the signal.
        psi_groups: groups of equal reference mass for PSI; None compares bin by bin (categories).
    """

    psi: float = 0.2
    p_value: float = 0.01
    min_samples: int = 100
    missing_rise_ratio: float = 0.1
    min_features: int = 1
    psi_groups: int | None = 10

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            DriftError: a threshold out of its range.
        """
        if not (self.psi > 0 and 0 < self.p_value < 1 and 0 < self.missing_rise_ratio <= 1):
            message = f"Setting drift thresholds: {self} has a threshold out of range, expected psi > 0, p in (0, 1)."
            raise DriftError(message)
        if self.min_samples < 1 or self.min_features < 1:
            message = f"Setting drift thresholds: min_samples and min_features must be at least 1, found {self}."
            raise DriftError(message)


@dataclass(frozen=True)
class FeatureDrift:
    """What was found on one feature.

    Attributes:
        feature: its position.
        ks: Kolmogorov-Smirnov distance at the edges, 0 to 1; NaN where the feature was not tested.
        resolution: how far the distance of the raw values may lie above `ks`, see `ks_resolution`.
        p_value: asymptotic KS p-value, unadjusted, that of the chi-squared test for categories; NaN where not tested.
        adjusted_p_value: the same after Benjamini-Hochberg over the tested features.
        psi: population stability index; NaN where not tested.
        samples: values in the window.
        missing_ratio: share of missing values in the window.
        is_drifted: whether the thresholds are passed.
    """

    feature: int
    ks: float
    resolution: float
    p_value: float
    adjusted_p_value: float
    psi: float
    samples: int
    missing_ratio: float
    is_drifted: bool


@dataclass(frozen=True)
class DriftVerdict:
    """The verdict on one window.

    Attributes:
        is_raised: whether this is a drift signal.
        leading: positions of the drifted features, those with the most missing or the largest distance first.
        features: what was found on each feature, in order.
    """

    is_raised: bool
    leading: tuple[int, ...]
    features: tuple[FeatureDrift, ...]

    @property
    def is_tested(self) -> bool:
        """Whether any feature had enough values to be tested."""
        return any(not np.isnan(feature.ks) for feature in self.features)


def detect_drift(
    reference: Histogram,
    window: Histogram,
    thresholds: DriftThresholds | None = None,
    categorical: Sequence[bool] | None = None,
) -> DriftVerdict:
    """Decide whether a window of data has drifted from the reference.

    A feature drifts if its PSI *and* its adjusted p-value pass their thresholds (large enough to matter,
    and no accident of sampling), or if its values go missing. The p-value is that of the KS distance; of categories,
    whose order means nothing, that of the chi-squared test, and their PSI is taken bin by bin.

    Args:
        reference: histogram of the training data.
        window: histogram of the data served, over the same edges.
        thresholds: the defaults where None.
        categorical: which features are categories; None: none is.

    Raises:
        DriftError: different edges, or a reference without rows.
    """
    limits = thresholds or DriftThresholds()
    _check_pair(reference, window)
    if reference.row_count == 0:
        message = "Detecting drift: the reference histogram is empty. Register the version with a baseline."
        raise DriftError(message)
    is_tested = (window.samples >= limits.min_samples) & (reference.samples > 0)
    ks = np.where(is_tested, ks_distance(reference, window), np.nan)
    psi = np.where(is_tested, population_stability_index(reference, window, limits.psi_groups), np.nan)
    p_values = kolmogorov_p_value(ks, reference.samples, window.samples)
    if categorical is not None and any(categorical):
        of_categories = np.flatnonzero(np.asarray(categorical) & is_tested)
        by_bins = population_stability_index(reference, window, None)
        psi[of_categories] = by_bins[of_categories]
        for place in of_categories.tolist():
            p_values[place] = chi_squared_test(reference.of_feature(place), window.of_feature(place)).p_value
    adjusted = benjamini_hochberg(p_values)
    missing = window.missing / max(window.row_count, 1)
    rise = np.where(window.row_count >= limits.min_samples, missing - reference.missing / reference.row_count, 0.0)
    is_missing_more = rise >= limits.missing_rise_ratio
    # A comparison with NaN is false: what was not tested has not drifted.
    is_drifted = ((psi >= limits.psi) & (adjusted <= limits.p_value)) | is_missing_more
    strength = np.where(is_missing_more, rise, 0.0) + np.nan_to_num(ks)
    leading = sorted(np.flatnonzero(is_drifted).tolist(), key=lambda feature: (-strength[feature], feature))
    resolution = np.nan_to_num(ks_resolution(reference, window))
    columns = (ks, resolution, p_values, adjusted, psi, window.samples, missing, is_drifted)
    features = zip(*(column.tolist() for column in columns), strict=True)
    return DriftVerdict(
        is_raised=len(leading) >= limits.min_features,
        leading=tuple(leading),
        features=tuple(FeatureDrift(position, *found) for position, found in enumerate(features)),
    )


def ks_distance(first: Histogram, second: Histogram) -> NDArray[np.float64]:
    """Return the largest distance of the two distribution functions at the edges, per feature.

    It is at most the distance of the raw values, and short of it by at most the largest bin's share.

    Returns:
        (features,) float64, 0 to 1; NaN where a feature has no values in one of the two.

    Raises:
        DriftError: different edges.
    """
    _check_pair(first, second)
    gaps = np.abs(_distribution(first) - _distribution(second))
    distances: NDArray[np.float64] = np.maximum.reduceat(gaps, first.edges.bin_offsets[:-1])
    return distances


def ks_resolution(first: Histogram, second: Histogram) -> NDArray[np.float64]:
    """Return how far the distance of the raw values may lie above `ks_distance`, per feature.

    Within a bin (a, b] the difference of the distribution functions is at most F(b) - G(a) one way and
    G(b) - F(a) the other: the largest of these, less the distance at the edges. No smaller bound follows from
    the counts. It is at most the smaller of the two shares of one bin, so never above the largest bin's, and
    zero in a bin that has a single value (one of a frequent value; negative subnormal numbers count as zero).

    Returns:
        (features,) float64, 0 to 1; NaN where a feature has no values in one of the two.

    Raises:
        DriftError: different edges.
    """
    _check_pair(first, second)
    left, right = (_distribution(histogram) for histogram in (first, second))
    starts = first.edges.bin_offsets[:-1]
    before_left, before_right = np.roll(left, 1), np.roll(right, 1)
    before_left[starts] = before_right[starts] = 0.0
    inside = np.maximum(left - before_right, right - before_left)
    at_edges = np.abs(left - right)
    highest = np.maximum.reduceat(np.where(first.edges.has_one_value, at_edges, inside), starts)
    resolution: NDArray[np.float64] = np.maximum(highest - np.maximum.reduceat(at_edges, starts), 0.0)
    return resolution


def population_stability_index(reference: Histogram, window: Histogram, groups: int | None = 10) -> NDArray[np.float64]:
    """Return the population stability index per feature: Σ (a - e) ln(a / e).

    e are the shares of the reference and a those of the window; a share of zero is set to PSI_SHARE_FLOOR.
    The bins are first joined to `groups` of equal reference mass (deciles), because the index of two samples
    of the same source grows with the number of bins, about (bins - 1)(1/n1 + 1/n2). Bins in which the
    reference has nothing at all (beside a frequent value) form one more group. Source: Siddiqi, Credit Risk
    Scorecards, 2006; the index is Jeffreys' divergence of the two.

    Args:
        reference: histogram of the expected data.
        window: histogram of the actual data, over the same edges.
        groups: number of groups; None compares bin by bin.

    Returns:
        (features,) float64 at least 0; NaN where a feature has no values in one of the two.

    Raises:
        DriftError: different edges, or fewer than two groups.
    """
    _check_pair(reference, window)
    if groups is not None and groups < MIN_GROUPS:
        message = f"Computing PSI: groups is {groups}, expected at least {MIN_GROUPS}, or None for bin by bin."
        raise DriftError(message)
    expected, actual = _counts_by_group(reference, window, groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        e = expected / expected.sum(axis=1, keepdims=True)
        a = actual / actual.sum(axis=1, keepdims=True)
        e, a = (np.where(share == 0, PSI_SHARE_FLOOR, share) for share in (e, a))
        # A group that is empty in both adds (f - f) ln 1 = 0.
        index: NDArray[np.float64] = ((a - e) * np.log(a / e)).sum(axis=1)
    return index


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values so that rejecting those at most q keeps the false discovery rate at q.

    Step-up procedure of Benjamini and Hochberg, JRSS B 57, 1995; for one fixed family of tests.

    Args:
        p_values: (tests,) 0 to 1; NaN (not tested) stays NaN and does not count.

    Returns:
        (tests,) float64 adjusted p-values.

    Raises:
        DriftError: a p-value outside 0 to 1.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(raw))
    if ((raw[tested] < 0) | (raw[tested] > 1)).any():
        message = "Adjusting p-values: one lies outside 0 to 1."
        raise DriftError(message)
    order = tested[np.argsort(raw[tested])]
    scaled = raw[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted = np.full(raw.shape, np.nan)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def _check_pair(reference: Histogram, window: Histogram) -> None:
    if reference.edges.sha256 != window.edges.sha256:
        message = (
            f"Comparing histograms: edges {reference.edges.sha256[:12]} and {window.edges.sha256[:12]} differ. "
            "Compare a window only with the baseline that it was counted against."
        )
        raise DriftError(message)


def _cumulated_before(histogram: Histogram) -> NDArray[np.int64]:
    """Return for each bin the count of its feature's bins before it, (bins of all features,) int64."""
    before = np.cumsum(histogram.counts) - histogram.counts
    bins = np.diff(histogram.edges.bin_offsets)
    firsts: NDArray[np.int64] = np.repeat(before[histogram.edges.bin_offsets[:-1]], bins)
    return before - firsts


def _distribution(histogram: Histogram) -> NDArray[np.float64]:
    """Return P(X <= right edge) for each bin, NaN for a feature without values."""
    samples = np.repeat(histogram.samples, np.diff(histogram.edges.bin_offsets)).astype(np.float64)
    samples[samples == 0] = np.nan
    shares: NDArray[np.float64] = (_cumulated_before(histogram) + histogram.counts) / samples
    return shares


def _counts_by_group(
    reference: Histogram, window: Histogram, groups: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Join bins to groups: two arrays (features, groups) of counts, reference and window."""
    bins = np.diff(reference.edges.bin_offsets)
    feature = np.repeat(np.arange(len(bins)), bins)
    if groups is None:
        width = int(bins.max())
        group = np.arange(len(feature)) - np.repeat(reference.edges.bin_offsets[:-1], bins)
    else:
        width = groups + 1
        samples = np.repeat(np.maximum(reference.samples, 1), bins)
        # The group of a bin is that of the reference's quantile at which the bin begins.
        group = np.minimum(groups * _cumulated_before(reference) // samples, groups - 1)
        group = np.where(reference.counts == 0, groups, group)
    cells = feature * width + group
    shape = (len(bins), width)

    def joined(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.bincount(cells, counts, shape[0] * shape[1]).astype(np.float64)
        return sums.reshape(shape)

    return joined(reference.counts), joined(window.counts)
