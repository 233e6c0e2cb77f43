"""Pearson's test of categories against scipy's, and what becomes of rare ones."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shoal_numerics import DriftError, Histogram, HistogramEdges, chi_squared_test

stats = pytest.importorskip("scipy.stats")

COUNTS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 300)), min_size=2, max_size=40)


@given(COUNTS)
def test_statistic_and_p_value_are_scipys(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs).T
    table = table[:, table.sum(axis=0) > 0]
    assume(table.shape[1] >= 2 and (table.sum(axis=1) > 0).all())
    theirs = stats.chi2_contingency(table, correction=False)
    ours = chi_squared_test(table[0], table[1], least_expected=0)
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9, abs=1e-9)
    assert (ours.degrees, ours.joined) == (theirs.dof, 0)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-3)


@given(COUNTS)
def test_no_cell_that_is_tested_expects_fewer_than_five(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    found = chi_squared_test(first, second)
    if not found.is_tested:
        assert np.isnan(found.p_value)
        return
    # The cells again, by the definition.
    totals, sizes = first + second, np.array([first.sum(), second.sum()])
    order = np.argsort(totals[totals > 0], kind="stable")
    kept = np.stack([first, second])[:, totals > 0][:, order]
    cells = np.hstack([kept[:, : found.joined].sum(axis=1, keepdims=True), kept[:, found.joined :]])
    cells = cells[:, cells.sum(axis=0) > 0]
    theirs = stats.chi2_contingency(cells, correction=False)
    assert theirs.expected_freq.min() >= 5 - 1e-9
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-3)
    assert sizes.min() > 0


def test_stable_windows_with_rare_categories_are_as_often_below_a_level_as_it_says() -> None:
    random = np.random.default_rng(5)
    shares = 1 / np.arange(1, 41) ** 1.5
    shares /= shares.sum()
    reference = random.multinomial(5000, shares, size=2000)
    windows = random.multinomial(200, shares, size=2000)
    p_values = [chi_squared_test(one, other).p_value for one, other in zip(reference, windows, strict=True)]
    assert 0.035 <= np.mean(np.array(p_values) < 0.05) <= 0.065
    assert np.mean(np.array(p_values) < 0.01) <= 0.02


def test_a_category_that_was_never_seen_is_a_change() -> None:
    edges = HistogramEdges.categories(3)
    random = np.random.default_rng(1)
    reference = Histogram.of(edges, random.integers(0, 3, 3000))
    same, odd = random.integers(0, 3, 300), random.integers(0, 3, 300)
    odd[:60] = 7
    assert chi_squared_test(reference.of_feature(0), Histogram.of(edges, same).of_feature(0)).p_value > 0.01
    assert chi_squared_test(reference.of_feature(0), Histogram.of(edges, odd).of_feature(0)).p_value < 1e-20


@pytest.mark.parametrize(
    ("first", "second"), [([0, 0], [3, 4]), ([3, 4], [0, 0]), ([500, 0], [60, 0]), ([500, 9], [60, 1]), ([5], [5])]
)
def test_what_leaves_a_single_cell_is_not_tested(first: list[int], second: list[int]) -> None:
    found = chi_squared_test(first, second)
    assert not found.is_tested
    assert np.isnan(found.p_value)


@pytest.mark.parametrize(("first", "second"), [([1, 2], [1]), ([], []), ([1, -2], [1, 2]), ([1, 2], [1, np.nan])])
def test_what_are_no_counts_is_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(DriftError, match="Testing categories"):
        chi_squared_test(first, second)
