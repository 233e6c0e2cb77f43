"""Where edges are placed, and which edges are refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal_numerics import Histogram, HistogramEdges, HistogramError

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
REFERENCES = hnp.arrays(np.float32, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=FLOATS)


@given(REFERENCES, st.integers(2, 20))
def test_equal_mass_edges_are_finite_strictly_increasing_and_no_more_than_asked(
    reference: np.ndarray, bins: int
) -> None:
    edges = HistogramEdges.equal_mass(reference, bins)
    assert edges.feature_count == reference.shape[1]
    for feature in range(edges.feature_count):
        of_feature = edges.of_feature(feature)
        assert len(of_feature) < max(bins, 3)
        assert np.isfinite(of_feature).all()
        assert (np.diff(of_feature.astype(np.float64)) > 0).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([10, 100]))
def test_continuous_reference_fills_every_bin_with_the_same_share(seed: int, bins: int) -> None:
    reference = np.random.default_rng(seed).permutation(10 * bins).astype(np.float32)
    counts = Histogram.of(HistogramEdges.equal_mass(reference, bins), reference).counts
    assert counts.tolist() == [10] * bins


def test_every_tenth_of_a_hundred_edges_is_a_decile_of_the_reference() -> None:
    reference = np.random.default_rng(1).standard_normal(1003).astype(np.float32)
    edges = HistogramEdges.equal_mass(reference, 100).of_feature(0)
    deciles = np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf")
    assert edges[9::10].tolist() == deciles.tolist()


@pytest.mark.parametrize("constant", [0.0, -0.0, 1e-45, 7.25, -1.75e38])
def test_constant_feature_tells_larger_and_smaller_values_from_its_own(constant: float) -> None:
    edges = HistogramEdges.equal_mass(np.full(50, constant, dtype=np.float32))
    own, above, below = (
        Histogram.of(edges, np.array([value], dtype=np.float32)).counts.tolist()
        for value in (constant, np.nextafter(np.float32(constant), np.float32(np.inf)), -np.inf)
    )
    assert own != above
    assert own != below


def test_the_smallest_float_is_a_constant_like_any_other() -> None:
    smallest = np.finfo(np.float32).min
    edges = HistogramEdges.equal_mass(np.full(50, smallest))
    assert edges.to_lists() == [[float(smallest)]]


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    reference = np.concatenate([np.zeros(500), np.linspace(1, 2, 500)])
    edges = HistogramEdges.equal_mass(reference, 10)
    counts = Histogram.of(edges, np.array([-1.0, 0.0, 0.0, 0.5]))
    assert counts.counts[:3].tolist() == [1, 2, 1]


def test_feature_without_finite_values_gets_one_bin() -> None:
    edges = HistogramEdges.equal_mass([[np.nan, 1.0], [np.inf, 2.0]])
    assert len(edges.of_feature(0)) == 0
    assert len(edges.of_feature(1)) == 2


@given(REFERENCES)
def test_edges_survive_json_exactly(reference: np.ndarray) -> None:
    edges = HistogramEdges.equal_mass(reference)
    again = HistogramEdges.from_lists(json.loads(json.dumps(edges.to_lists())))
    assert again.sha256 == edges.sha256


def test_hash_tells_apart_the_same_numbers_in_another_layout() -> None:
    together = HistogramEdges.from_lists([[1.0, 2.0], [3.0]])
    assert together.sha256 != HistogramEdges.from_lists([[1.0], [2.0, 3.0]]).sha256
    assert HistogramEdges.from_lists([[0.0]]).sha256 == HistogramEdges.from_lists([[-0.0]]).sha256


def test_edges_cannot_be_changed_after_they_are_hashed() -> None:
    edges = HistogramEdges.uniform(0, 1, 4)
    with pytest.raises(ValueError, match="read-only"):
        edges.values[0] = -1


def test_geometric_edges_have_the_same_ratio_everywhere() -> None:
    edges = HistogramEdges.geometric(0.1, 1000, 40).of_feature(0)
    assert len(edges) == 41
    assert edges[1:] / edges[:-1] == pytest.approx(np.full(40, 10**0.1), rel=1e-5)


@pytest.mark.parametrize(
    "lists",
    [
        [],
        [[2.0, 1.0]],
        [[1.0, 1.0]],
        [[1.0, 1.0 + 1e-12]],
        [[float("nan")]],
        [[float("inf")]],
        [[1e39]],
        [[0.0], [1.0, -1.0]],
        [["edge"]],
        [[None]],
        [[10**400]],
        [list(range(4097))],
    ],
)
def test_bad_edges_are_refused(lists: list[list[float]]) -> None:
    with pytest.raises(HistogramError, match="edge|features"):
        HistogramEdges.from_lists(lists)


@pytest.mark.parametrize("offsets", [[0, 2, 1], [1, 2], [0, 1], [0], [0, 3], [[0, 2]]])
def test_bad_layout_is_refused(offsets: list[int]) -> None:
    with pytest.raises(HistogramError, match="Checking histogram edges"):
        HistogramEdges(values=np.array([1, 2], dtype=np.float32), offsets=np.array(offsets))


def test_bad_requests_for_edges_are_refused() -> None:
    with pytest.raises(HistogramError, match="no rows"):
        HistogramEdges.equal_mass(np.empty((0, 3)))
    with pytest.raises(HistogramError, match="bins is 1"):
        HistogramEdges.equal_mass([1.0], bins=1)
    with pytest.raises(HistogramError, match="above 0"):
        HistogramEdges.geometric(0, 1, 4)
    with pytest.raises(HistogramError, match="low < high"):
        HistogramEdges.uniform(1, 1, 4)
    with pytest.raises(HistogramError, match="0 bins"):
        HistogramEdges.categories(0)
    with pytest.raises(HistogramError, match="real numbers"):
        HistogramEdges.equal_mass(["a", "b"])


def test_a_bin_of_one_frequent_value_is_known_for_one() -> None:
    frequent = np.repeat([0.0, 2.0], 500)
    edges = HistogramEdges.equal_mass(np.column_stack([np.arange(1000), frequent, -frequent]))
    assert np.split(edges.has_one_value, edges.bin_offsets[1:-1])[1].tolist() == [False, True, False, True, False]
    assert edges.has_one_value.sum() == 4
    assert not HistogramEdges.from_lists([[], [1.0]]).has_one_value.any()
