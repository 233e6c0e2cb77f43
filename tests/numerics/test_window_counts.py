"""A window's counts in 2 or 4 bytes each are those of a histogram, and never overflow."""

import numpy as np
import pytest
from hypothesis import given
from tests.numerics.test_histogram import BATCHES, EDGES, contents

from shoal_numerics import Histogram, HistogramEdges, HistogramError, WindowCounts
from shoal_numerics.window_counts import MAX_SMALL_ROWS


@given(BATCHES, BATCHES)
def test_they_are_the_counts_of_a_histogram_of_the_union(first: np.ndarray, second: np.ndarray) -> None:
    counts = WindowCounts(EDGES)
    counts.add(first)
    counts.add(second)
    assert contents(counts.histogram()) == contents(Histogram.of(EDGES, np.concatenate([first, second])))


def test_a_thousand_windows_merge_to_the_histogram_of_the_union() -> None:
    data = np.random.default_rng(0).standard_normal((20_000, 4)).astype(np.float32)
    merged = Histogram.empty(EDGES)
    for part in np.array_split(data, 1000):
        counts = WindowCounts(EDGES)
        counts.add(part)
        merged = merged.merge(counts.histogram())
    assert contents(merged) == contents(Histogram.of(EDGES, data))


def test_more_rows_than_a_window_holds_are_refused_and_none_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_numerics.window_counts.MAX_WINDOW_ROWS", 10)
    counts = WindowCounts(HistogramEdges.uniform(0, 1, 2))
    counts.add(np.zeros((8, 1), dtype=np.float32))
    with pytest.raises(HistogramError, match="at most 2 rows"):
        counts.add(np.zeros((3, 1), dtype=np.float32))
    counts.add(np.full((2, 1), np.nan, dtype=np.float32))
    assert (counts.room, contents(counts.histogram())) == (0, ([8, 0, 0, 0], [2]))


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(HistogramError, match="expected 4 features"):
        WindowCounts(EDGES).add(np.zeros((2, 3), dtype=np.float32))


def test_each_count_takes_two_bytes_and_four_where_there_are_many() -> None:
    edges = HistogramEdges.equal_mass(np.random.default_rng(0).standard_normal((5000, 30)), 100)
    counts, rows = WindowCounts(edges), np.zeros((MAX_SMALL_ROWS, 30), dtype=np.float32)
    counts.add(rows)
    assert (counts.is_small, counts.nbytes) == (True, 2 * 30 * (100 + 1))
    counts.add(rows[:1])
    assert (counts.is_small, counts.nbytes) == (False, 4 * 30 * (100 + 1))
    assert counts.histogram().counts.max() == MAX_SMALL_ROWS + 1
