"""Counting and merging: laws that hold for every batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal_numerics import Histogram, HistogramEdges, HistogramError
from shoal_numerics.histogram import MAX_ROWS

EDGES = HistogramEdges.from_lists([[-1.0, 0.0, 2.5], [], [0.0], [-1e-38, 1e30]])
# Values at the edges, beside them, and anything else.
VALUES = st.one_of(
    st.sampled_from(
        [
            -1.0,
            0.0,
            -0.0,
            2.5,
            np.nextafter(np.float32(2.5), np.float32(3)),
            float(np.float32(1e-45)),
            float(np.float32(-1e-45)),
        ]
    ),
    st.floats(width=32, allow_nan=True, allow_infinity=True),
)
BATCHES = hnp.arrays(np.float32, st.tuples(st.integers(0, 30), st.just(4)), elements=VALUES)


def contents(histogram: Histogram) -> tuple[list[int], list[int]]:
    return histogram.counts.tolist(), histogram.missing.tolist()


@given(BATCHES)
def test_counts_agree_with_a_plain_loop(batch: np.ndarray) -> None:
    histogram = Histogram.of(EDGES, batch)
    for feature in range(4):
        expected = [0] * (len(EDGES.of_feature(feature)) + 1)
        for value in batch[:, feature].tolist():
            if not np.isnan(value):
                expected[sum(value > edge for edge in EDGES.of_feature(feature).tolist())] += 1
        assert histogram.of_feature(feature).tolist() == expected
    assert histogram.missing.tolist() == np.isnan(batch).sum(axis=0).tolist()
    assert histogram.row_count == len(batch)


def test_missing_values_of_either_sign_are_counted_as_missing_and_in_no_bin() -> None:
    negative_nan = np.array([0xFFC00000], dtype=np.uint32).view(np.float32)
    histogram = Histogram.of(HistogramEdges.uniform(0, 1, 2), np.concatenate([negative_nan, [np.float32(np.nan), 0.3]]))
    assert contents(histogram) == ([0, 1, 0, 0], [2])
    assert histogram.samples.tolist() == [1]


@given(BATCHES, BATCHES, BATCHES)
def test_merge_is_commutative_associative_and_equal_to_the_histogram_of_the_union(
    first: np.ndarray, second: np.ndarray, third: np.ndarray
) -> None:
    a, b, c = (Histogram.of(EDGES, batch) for batch in (first, second, third))
    assert contents(a.merge(b)) == contents(b.merge(a))
    assert contents(a.merge(b).merge(c)) == contents(a.merge(b.merge(c)))
    assert contents(a.merge(b).merge(c)) == contents(Histogram.of(EDGES, np.concatenate([first, second, third])))
    assert contents(a.merge(Histogram.empty(EDGES))) == contents(a)


def test_a_thousand_merged_histograms_equal_the_histogram_of_the_union() -> None:
    data = np.random.default_rng(0).standard_normal((20_000, 4)).astype(np.float32)
    merged = Histogram.empty(EDGES)
    for batch in np.array_split(data, 1000):
        merged = merged.merge(Histogram.of(EDGES, batch))
    assert contents(merged) == contents(Histogram.of(EDGES, data))


def test_merge_leaves_both_as_they_were() -> None:
    batch = np.ones((5, 4), dtype=np.float32)
    a, b = Histogram.of(EDGES, batch), Histogram.of(EDGES, batch)
    a.merge(b).add(batch)
    assert contents(a) == contents(b)
    assert a.row_count == 5


def test_histograms_of_another_baseline_do_not_merge() -> None:
    with pytest.raises(HistogramError, match="same baseline"):
        Histogram.empty(EDGES).merge(Histogram.empty(HistogramEdges.from_lists([[1.0]])))


def test_categories_are_counted_by_index_and_unknown_ones_outside() -> None:
    histogram = Histogram.of(HistogramEdges.categories(3), np.array([0, 1, 1, 2, 2, 2, -1, 3, 99]))
    assert histogram.counts.tolist() == [1, 1, 2, 3, 2]


def test_columns_of_a_larger_array_and_other_dtypes_are_counted_alike() -> None:
    data = np.random.default_rng(0).integers(-3, 4, (50, 8))
    expected = contents(Histogram.of(EDGES, data[:, ::2].astype(np.float32)))
    assert contents(Histogram.of(EDGES, data[:, ::2])) == expected
    assert contents(Histogram.of(EDGES, np.asfortranarray(data[:, ::2].astype(np.float32)))) == expected
    assert Histogram.of(HistogramEdges.uniform(0, 1, 1), np.array([1e300, -1e300])).counts.tolist() == [1, 0, 1]


@pytest.mark.parametrize("batch", [np.ones((2, 3)), np.ones(4), np.ones((1, 1, 4)), np.array([["a"] * 4]), [[1j] * 4]])
def test_batches_of_another_shape_or_kind_are_refused_and_nothing_is_counted(batch: np.ndarray) -> None:
    histogram = Histogram.empty(EDGES)
    with pytest.raises(HistogramError, match="expected"):
        histogram.add(batch)
    assert histogram.row_count == 0


@pytest.mark.parametrize(
    ("counts", "missing", "reason"),
    [
        ([1, 2], [0], "do not fit"),
        ([1, 2, 3, 4], [0], "do not fit"),
        ([1, 2, 3], [0, 0], "do not fit"),
        ([1, -1, 3], [0], "negative"),
        ([1, 1, 1], [-1], "negative"),
        ([MAX_ROWS + 1, 0, 0], [0], "above"),
        ([MAX_ROWS, 1, 0], [0], "add up"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts: list[int], missing: list[int], reason: str) -> None:
    with pytest.raises(HistogramError, match=reason):
        Histogram(HistogramEdges.from_lists([[0.0, 1.0]]), np.array(counts), np.array(missing))


def test_features_that_disagree_on_the_number_of_rows_are_refused() -> None:
    edges = HistogramEdges.from_lists([[0.0], [0.0]])
    with pytest.raises(HistogramError, match="add up"):
        Histogram(edges, np.array([1, 1, 1, 0]), np.array([0, 0]))
    assert Histogram(edges, np.array([1, 1, 1, 0]), np.array([0, 1])).row_count == 2


def test_minus_zero_is_zero_as_an_edge_and_as_a_value() -> None:
    for edge in (0.0, -0.0):
        edges = HistogramEdges.from_lists([[edge]])
        assert Histogram.of(edges, np.array([0.0, -0.0, 1e-30, -1e-30])).counts.tolist() == [3, 1]


@given(BATCHES)
def test_padded_counts_have_a_row_a_feature_and_come_back(batch: np.ndarray) -> None:
    histogram = Histogram.of(EDGES, batch)
    padded = histogram.padded()
    assert padded.shape == EDGES.padded_shape == (4, 4)
    assert [padded[f, : len(EDGES.of_feature(f)) + 1].tolist() for f in range(4)] == [
        histogram.of_feature(f).tolist() for f in range(4)
    ]
    assert contents(Histogram.from_padded(EDGES, padded.ravel(), histogram.missing)) == contents(histogram)
    assert contents(Histogram.from_padded(EDGES, padded, histogram.missing[:, np.newaxis])) == contents(histogram)


def test_padded_counts_of_another_shape_or_in_bins_that_are_none_are_refused() -> None:
    padded, missing = Histogram.empty(EDGES).padded(), np.zeros(4, dtype=np.int64)
    padded[1, 1] = 1
    with pytest.raises(HistogramError, match="bins that a feature does not have"):
        Histogram.from_padded(EDGES, padded, missing)
    with pytest.raises(HistogramError, match="found 12 counts, expected 4 x 4"):
        Histogram.from_padded(EDGES, padded[:, :3], missing)
    with pytest.raises(HistogramError, match="do not fit"):
        Histogram.from_padded(EDGES, padded * 0, missing[:3])


def test_a_histogram_from_the_wire_can_be_added_to_without_changing_the_message() -> None:
    wire_counts, wire_missing = np.zeros((4, 4), dtype=np.int64), np.zeros(4, dtype=np.int64)
    Histogram.from_padded(EDGES, wire_counts, wire_missing).add(np.full((2, 4), np.nan))
    assert not wire_counts.any()
    assert not wire_missing.any()
