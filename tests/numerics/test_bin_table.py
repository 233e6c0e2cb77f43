"""The table of cells finds the bin that a binary search finds, for every float32, in bounded memory."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal_numerics import Histogram, HistogramEdges
from shoal_numerics.bin_table import MAX_CELLS, BinTable

Floats = NDArray[np.float32]

SPECIAL = np.array(
    [
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        1.1754944e-38,
        -1.1754944e-38,
        3.4028235e38,
        -3.4028235e38,
        np.inf,
        -np.inf,
        np.nan,
        1.0,
    ],
    dtype=np.float32,
)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
NEAR = st.builds(
    lambda around, steps: float(np.float32(around) + np.float32(steps) * np.spacing(np.float32(around))),
    st.sampled_from([0.0, 1.0, -293.15, 1e6, 1e-40, -3e38]),
    st.integers(-40, 40),
)
EDGES = st.lists(st.one_of(FINITE, NEAR, st.floats(-4, 4, width=32)), max_size=40)


def searched(edges: HistogramEdges, rows: Floats) -> tuple[list[int], list[int]]:
    """Count by one binary search a value, as the definition has it."""
    counts: list[int] = []
    for feature in range(edges.feature_count):
        column = rows[:, feature]
        own = edges.of_feature(feature)
        bins = np.searchsorted(own, column[~np.isnan(column)], side="left")
        counts += np.bincount(bins, minlength=len(own) + 1).tolist()
    return counts, np.isnan(rows).sum(axis=0).tolist()


def tabled(edges: HistogramEdges, rows: Floats) -> tuple[list[int], list[int]]:
    return counted(BinTable(edges.values, edges.offsets), edges, rows)


def counted(counter: BinTable | HistogramEdges, edges: HistogramEdges, rows: Floats) -> tuple[list[int], list[int]]:
    counts, missing = np.zeros(edges.bin_total, dtype=np.int64), np.zeros(edges.feature_count, dtype=np.int64)
    counter.count(rows, counts, missing)
    return counts.tolist(), missing.tolist()


def around(edges: HistogramEdges, seed: int) -> Floats:
    """Give each feature its edges, the floats beside them, special values and random ones, shuffled."""
    random = np.random.default_rng(seed)
    columns = []
    for feature in range(edges.feature_count):
        own = edges.of_feature(feature)
        with np.errstate(over="ignore", under="ignore"):
            beside = [own, np.nextafter(own, np.float32(np.inf)), np.nextafter(own, np.float32(-np.inf))]
        bits = random.integers(0, 2**32, 60, dtype=np.uint32).view(np.float32)
        columns.append(np.concatenate([*beside, SPECIAL, bits]))
    height = max(len(column) for column in columns)
    return np.stack([random.permutation(np.resize(column, height)) for column in columns], axis=1)


@given(st.lists(EDGES, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
@example([[float(edge) for edge in range(100)], [], [0.0]], 0)
@example([[3.4028235e38], [-3.4028235e38], [1e-45], [-3.4028235e38, 3.4028235e38]], 0)
def test_any_edges_and_any_values_are_counted_as_by_a_binary_search(lists: list[list[float]], seed: int) -> None:
    edges = HistogramEdges.from_lists([np.unique(np.array(one, dtype=np.float32) + 0).tolist() for one in lists])
    rows = around(edges, seed)
    assert tabled(edges, rows) == searched(edges, rows)
    assert counted(edges, edges, rows) == searched(edges, rows)
    assert counted(edges, edges, rows[:1]) == searched(edges, rows[:1])


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 70))
def test_any_number_of_rows_and_features_is_counted_as_by_a_binary_search(seed: int, rows: int, features: int) -> None:
    random = np.random.default_rng(seed)
    edges = HistogramEdges.from_lists(
        [np.unique(random.standard_normal(random.integers(0, 9)).astype(np.float32)).tolist() for _ in range(features)]
    )
    values = random.standard_normal((rows, features)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    assert tabled(edges, values) == searched(edges, values)


def _sources(random: np.random.Generator, count: int) -> dict[str, Floats]:
    normal = random.standard_normal(count)
    shapes = {
        "normal": normal,
        "far from zero": 1e6 + normal,
        "narrow": 293.15 + 1e-4 * normal,
        "heavy tails": random.standard_cauchy(count),
        "many orders": np.exp(8 * normal),
        "both signs of many orders": np.exp(8 * normal) * random.choice([-1, 1], count),
        "two narrow peaks": np.where(normal > 0, 1e-3 * normal, 1000 + 1e-3 * normal),
        "mostly zero": np.where(normal > 0.5, normal, 0),
        "constant": np.full(count, 7.25),
        "zero": np.zeros(count),
        "few values": random.integers(0, 4, count),
        "subnormal": 1e-42 * normal,
        "the whole range": 3.4e38 * np.tanh(normal),
        "a far value": np.where(np.arange(count) == 0, 3e38, normal),
    }
    return {name: shape.astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", _sources(np.random.default_rng(0), 2))
def test_equal_mass_bins_of_data_of_any_shape_are_exact(name: str) -> None:
    edges = HistogramEdges.equal_mass(_sources(np.random.default_rng(1), 20_000)[name], 100)
    values = np.concatenate([_sources(np.random.default_rng(2), 20_000)[name][:, np.newaxis], around(edges, 3)])
    assert tabled(edges, values) == searched(edges, values)


def test_features_of_every_shape_are_exact_side_by_side() -> None:
    references = np.stack([*_sources(np.random.default_rng(1), 5000).values()], axis=1)
    values = np.stack([*_sources(np.random.default_rng(2), 5000).values()], axis=1)
    edges = HistogramEdges.equal_mass(references, 100)
    assert tabled(edges, values) == searched(edges, values)


def test_where_cells_are_few_more_comparisons_make_up_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    references = np.stack([*_sources(np.random.default_rng(1), 5000).values()], axis=1)
    edges = HistogramEdges.equal_mass(references, 100)
    rows = around(edges, 0)
    for most in (1, 20, 200):
        monkeypatch.setattr("shoal_numerics.bin_table.MAX_CELLS", most)
        assert tabled(edges, rows) == searched(edges, rows)


def test_no_rows_count_nothing() -> None:
    assert tabled(HistogramEdges.from_lists([[0.0], []]), np.empty((0, 2), dtype=np.float32)) == ([0, 0, 0], [0, 0])


def test_the_table_of_thirty_features_takes_little_and_never_more_than_its_bound() -> None:
    reference = np.random.default_rng(0).standard_normal((5000, 30))
    assert HistogramEdges.equal_mass(reference, 100).table_bytes <= 30 * 8 * 1024
    many = HistogramEdges.from_lists([[float(edge) for edge in range(100)]] * 20_000)
    assert many.table_bytes <= 4 * MAX_CELLS + 64 * len(many.values)


def test_a_merge_of_a_thousand_histograms_of_any_shape_is_the_histogram_of_the_union() -> None:
    sources = np.stack([*_sources(np.random.default_rng(1), 10_000).values()], axis=1)
    edges = HistogramEdges.equal_mass(sources[:5000], 100)
    merged = Histogram.empty(edges)
    for part in np.array_split(sources, 1000):
        merged = merged.merge(Histogram.of(edges, part))
    counts, missing = searched(edges, sources)
    assert (merged.counts.tolist(), merged.missing.tolist()) == (counts, missing)
