"""What histograms say of drift against what the values say; `benchmarks/drift_agreement.py` has more of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.numerics.drift_shifts import CONCENTRATED, CONTINUOUS, pair

from shoal_numerics import Histogram, HistogramEdges, ks_distance, ks_resolution

stats = pytest.importorskip("scipy.stats")


def gap_of(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Raw less binned distance, its resolution, and the reference's largest bin's share."""
    edges = HistogramEdges.equal_mass(first)
    one, other = Histogram.of(edges, first), Histogram.of(edges, second)
    raw = stats.ks_2samp(first, second, method="asymp").statistic
    largest = one.of_feature(0).max() / one.samples[0]
    return raw - ks_distance(one, other)[0], ks_resolution(one, other)[0], largest


@given(
    st.sampled_from(sorted(CONTINUOUS | CONCENTRATED)), st.integers(5, 3000), st.integers(1, 3000), st.integers(0, 99)
)
@settings(max_examples=80, deadline=None)
def test_raw_less_binned_distance_is_never_above_the_references_largest_bin(
    kind: str, rows: int, window: int, seed: int
) -> None:
    gap, resolution, largest = gap_of(*pair(kind, rows, window, seed))
    assert -1e-12 <= gap <= resolution + 1e-12
    assert resolution <= largest + 1e-12


@pytest.mark.parametrize("window", [1000, 50_000])
@pytest.mark.parametrize("kind", sorted(CONTINUOUS))
def test_a_hundred_bins_lose_at_most_a_hundredth_on_continuous_shifts(kind: str, window: int) -> None:
    gap, resolution, _ = gap_of(*pair(kind, 50_000, window, seed=1))
    assert -1e-12 <= gap <= resolution + 1e-12
    assert resolution <= 0.01 + 1e-12


@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal_mean_0.5", "mostly_zero", "ties", "heavy_tails"]))
@settings(max_examples=5, deadline=None)
def test_a_thousand_histograms_merged_are_the_histogram_of_the_union(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    reference, union = pair(kind, 2000, 20_000, seed)
    union[random.random(len(union)) < 0.01] = np.nan
    union[random.random(len(union)) < 0.01] = np.inf
    edges = HistogramEdges.equal_mass(reference)
    cuts = np.sort(random.integers(0, len(union), 999))
    parts = [Histogram.of(edges, part) for part in np.split(union, cuts)]
    merged = Histogram.empty(edges)
    for place in random.permutation(1000):
        merged = merged.merge(parts[place])
    whole = Histogram.of(edges, union)
    assert merged.counts.tolist() == whole.counts.tolist()
    assert merged.missing.tolist() == whole.missing.tolist()
