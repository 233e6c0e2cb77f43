"""Which shares are watched of a feature, and what a window says of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import DriftError, Histogram, HistogramEdges
from shoal_numerics.watched_shares import WatchedShares


def reference_of(rows: np.ndarray) -> Histogram:
    return Histogram.of(HistogramEdges.equal_mass(rows), rows)


def test_a_numeric_feature_has_the_shares_below_five_quantiles_and_the_missing_one() -> None:
    watched = WatchedShares.of(reference_of(np.arange(1000, dtype=np.float32)))
    assert watched.expected.tolist() == pytest.approx([0.1, 0.25, 0.5, 0.75, 0.9, 0.0])
    assert watched.is_missing.tolist() == [False] * 5 + [True]


def test_a_category_has_a_share_of_its_own_the_frequent_ones_first() -> None:
    edges = HistogramEdges.categories(12)
    counts = np.array([0, *range(1, 13), 0], dtype=np.int64)
    watched = WatchedShares.of(Histogram(edges, counts, np.zeros(1, dtype=np.int64)), categorical=[0])
    assert watched.first[:8].tolist() == list(range(5, 13))
    assert watched.expected[:8].tolist() == pytest.approx([count / 78 for count in range(5, 13)])
    rest = list(zip(watched.first[8:-1].tolist(), watched.stop[8:-1].tolist(), strict=True))
    assert rest == [(0, 1), (1, 5), (13, 14)]  # unknown ones, rare ones, unknown ones


@pytest.mark.parametrize("value", [-3.0, 50.0, 200.0])
def test_many_rare_categories_are_missed_together(value: float) -> None:
    rows = np.tile(np.arange(100, dtype=np.float32), 50)
    edges = HistogramEdges.categories(100)
    watched = WatchedShares.of(Histogram.of(edges, rows), categorical=[0])
    found = watched.shares_of(Histogram.of(edges, np.full(40, value, dtype=np.float32)))
    assert np.abs(found.share - watched.expected).max() > 0.75


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 7.5]), min_size=30, max_size=60), st.integers(1, 40))
def test_shares_are_those_of_the_raw_values(column: list[float], rows: int) -> None:
    reference = reference_of(np.array(column, dtype=np.float32))
    watched = WatchedShares.of(reference)
    values = np.array([*column[:rows], np.nan], dtype=np.float32)
    found = watched.shares_of(Histogram.of(reference.edges, values))
    edges = reference.edges.of_feature(0)
    for share, stop in zip(found.share[:-1], watched.stop[:-1], strict=True):
        assert share == pytest.approx((values[:-1] <= edges[stop - 1]).mean())
    assert found.share[-1] == pytest.approx(1 / len(values))
    assert found.size.tolist() == [len(values) - 1] * (len(found.size) - 1) + [len(values)]


def test_a_window_without_values_says_nothing_of_them() -> None:
    reference = reference_of(np.arange(100, dtype=np.float32))
    found = WatchedShares.of(reference).shares_of(Histogram.of(reference.edges, np.full(3, np.nan, dtype=np.float32)))
    assert np.isnan(found.share[:-1]).all()
    assert found.share[-1] == 1


def test_a_constant_is_watched_for_leaving_its_value_in_either_direction() -> None:
    reference = reference_of(np.full(100, 3.0, dtype=np.float32))
    watched = WatchedShares.of(reference)
    above = watched.shares_of(Histogram.of(reference.edges, np.full(5, 4.0, dtype=np.float32)))
    below = watched.shares_of(Histogram.of(reference.edges, np.full(5, 2.0, dtype=np.float32)))
    for moved in (above, below):
        assert np.abs(moved.share - watched.expected).max() == 1


def test_a_reference_without_rows_and_unknown_categories_are_refused() -> None:
    edges = HistogramEdges.uniform(0, 1, 10)
    with pytest.raises(DriftError, match="reference histogram is empty"):
        WatchedShares.of(Histogram.empty(edges))
    with pytest.raises(DriftError, match="feature 3"):
        WatchedShares.of(Histogram.of(edges, np.zeros(4, dtype=np.float32)), categorical=[3])
