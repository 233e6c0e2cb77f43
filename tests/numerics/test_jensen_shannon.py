"""The Jensen-Shannon distance against scipy's, and its floor against samples of one source."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import DriftError, Histogram, HistogramEdges, jensen_shannon_distance, jensen_shannon_floor

spatial = pytest.importorskip("scipy.spatial.distance")

PAIRS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=100)


@given(PAIRS)
def test_the_distance_is_scipys_and_a_metrics(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    ours = jensen_shannon_distance(first, second)
    if not (first.any() and second.any()):
        assert np.isnan(ours)
        return
    assert ours == pytest.approx(spatial.jensenshannon(first, second, base=2), abs=1e-7)
    assert ours == pytest.approx(jensen_shannon_distance(second, first * 3), abs=1e-7)
    assert 0 <= ours <= 1


def test_features_of_a_histogram_are_compared_row_by_row() -> None:
    edges = HistogramEdges.from_lists([[0.0, 1.0, 2.0], [5.0]])
    first = Histogram.of(edges, np.array([[0.5, 9], [1.5, 9]]))
    second = Histogram.of(edges, np.array([[0.5, 1], [0.5, 1]]))
    assert jensen_shannon_distance(first.padded(), second.padded()) == pytest.approx([0.5579, 1.0], abs=1e-4)


@pytest.mark.parametrize(("bins", "n", "m"), [(10, 5000, 300), (100, 50_000, 1000)])
def test_samples_of_one_source_lie_at_the_floor(bins: int, n: int, m: int) -> None:
    random = np.random.default_rng(3)
    shares = np.full(bins, 1 / bins)
    found = jensen_shannon_distance(random.multinomial(n, shares, 500), random.multinomial(m, shares, 500))
    assert np.sqrt(np.mean(found**2)) == pytest.approx(jensen_shannon_floor(bins, n, m), rel=0.05)


def test_what_are_no_counts_is_refused() -> None:
    for first, second in (([1, 2], [1]), (1, 2), ([1, -1], [1, 1]), ([1, 1], [1, np.inf])):
        with pytest.raises(DriftError, match="Jensen-Shannon"):
            jensen_shannon_distance(first, second)
