"""All that the tests say of each feature of a window, side by side: for whoever asks what has moved, and by how much.

`drift.py` decides; here every test of docs/guides/drift-tests.md that needs counts alone is run on the same counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.chi_squared import ChiSquared, chi_squared_test
from shoal_numerics.jensen_shannon import jensen_shannon_distance, jensen_shannon_floor
from shoal_numerics.moment_shift import SampleMoments, mean_shift, variance_shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shoal_numerics.drift import DriftVerdict, FeatureDrift
    from shoal_numerics.edges import HistogramEdges
    from shoal_numerics.histogram import Histogram

_EDGES_KEPT = 16
_HALF = 0.5


@dataclass(frozen=True)
class FeatureTests:
    """What the tests say of one feature; what was not tested is NaN or None.

    Attributes:
        drift: distance, its resolution, p-value and PSI, and whether the feature has drifted.
        jensen_shannon: distance of the shares of bins, 0 to 1.
        jensen_shannon_floor: where two samples of one source lie, about.
        chi_squared: of categories; None where the feature is a number.
        mean: of the window's values, each taken for the middle of its bin.
        mean_change: the window's mean less the reference's, both by bins.
        mean_p_value: Welch's, two-sided.
        variance_ratio: the window's variance over the reference's, both by bins.
        variance_p_value: two-sided, by the kurtosis.
    """

    drift: FeatureDrift
    jensen_shannon: float
    jensen_shannon_floor: float
    chi_squared: ChiSquared | None
    mean: float
    mean_change: float
    mean_p_value: float
    variance_ratio: float
    variance_p_value: float


def run_feature_tests(
    reference: Histogram,
    window: Histogram,
    verdict: DriftVerdict,
    categorical: Sequence[bool] | None = None,
    positions: Sequence[int] | None = None,
) -> list[FeatureTests]:
    """Run every test that counts suffice for.

    Mean and variance are of values taken for the middles of their bins, in both samples alike: the outer bins are open,
    so that a value beyond the last edge counts as one just beyond it, however far away it is. They say in which
    direction a feature has gone; by how much at most as far as the reference reaches.

    Args:
        reference: histogram of the training data.
        window: histogram of the data served, over the same edges.
        verdict: what `detect_drift` said of the two.
        categorical: which features are categories; None: none is.
        positions: of the features that are wanted; None: all, in order.

    Returns:
        What was found on each feature that is wanted, in the order of the positions.
    """
    wanted = np.arange(len(verdict.features)) if positions is None else np.array(positions, dtype=np.int64)
    counts = [histogram.padded()[wanted].astype(np.float64) for histogram in (reference, window)]
    used = ((counts[0] + counts[1]) > 0).sum(axis=1)
    sizes = [np.maximum(histogram.samples[wanted], 1) for histogram in (reference, window)]
    moments = [binned_moments(histogram) for histogram in (reference, window)]
    means, variances = mean_shift(*moments), variance_shift(*moments)
    with np.errstate(over="ignore"):
        of_numbers = (moments[1].mean, means.size, means.p_value, np.exp(variances.size), variances.p_value)
    columns = (
        jensen_shannon_distance(*counts),
        jensen_shannon_floor(used, *sizes),
        *(column[wanted] for column in of_numbers),
    )
    found = []
    for place, (feature, *row) in enumerate(
        zip(wanted.tolist(), *(column.tolist() for column in columns), strict=True)
    ):
        drift = verdict.features[feature]
        is_tested, is_category = not np.isnan(drift.ks), categorical is not None and categorical[feature]
        pair = counts[0][place], counts[1][place]
        bins = row[:2] if is_tested else [np.nan] * 2
        mean, change, mean_p, ratio, variance_p = row[2:] if is_tested and not is_category else [np.nan] * 5
        chi = chi_squared_test(*pair) if is_category else None
        found.append(FeatureTests(drift, bins[0], bins[1], chi, mean, change, mean_p, ratio, variance_p))
    return found


def binned_moments(histogram: Histogram) -> SampleMoments:
    """Return the moments of values taken for the middles of their bins; NaN for a feature without values."""
    middles, starts = bin_middles(histogram.edges), histogram.edges.bin_offsets[:-1]
    bins = np.diff(histogram.edges.bin_offsets)
    count = histogram.samples.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.add.reduceat(histogram.counts * middles, starts) / count
        apart = middles - np.repeat(mean, bins)
        squares = np.add.reduceat(histogram.counts * apart**2, starts)
        fourth = np.add.reduceat(histogram.counts * apart**4, starts) / count
        variance = squares / np.maximum(count - 1, 1)
    return SampleMoments(count, mean, variance, fourth)


@lru_cache(maxsize=_EDGES_KEPT)
def bin_middles(edges: HistogramEdges) -> NDArray[np.float64]:
    """Return a value for each bin, (bins of all features,) float64: its middle, and its only value where it has one.

    An outer bin is taken to be as wide as its neighbour; beside a lone edge, as wide as the edge is large, 1 at least.
    """
    middles = [_middles(edges.of_feature(feature).astype(np.float64)) for feature in range(edges.feature_count)]
    found: NDArray[np.float64] = np.concatenate(middles)
    upper = np.concatenate([np.append(edges.of_feature(place), 0.0) for place in range(edges.feature_count)])
    return np.where(edges.has_one_value, upper, found)


def _middles(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(edges) == 0:
        return np.zeros(1)
    widths = np.diff(edges)
    alone = max(1.0, abs(float(edges[0])))
    first, last = (float(widths[0]), float(widths[-1])) if len(widths) else (alone, alone)
    return np.concatenate([[edges[0] - _HALF * first], edges[:-1] + _HALF * widths, [edges[-1] + _HALF * last]])
