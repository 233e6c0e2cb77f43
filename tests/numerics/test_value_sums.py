"""Sums of numbers merge as if they had come together, and give scikit-learn's errors of a regression."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from shoal_contract.performance import RegressionSums, ValueSums
from shoal_numerics import NumericsError
from shoal_numerics.value_sums import (
    merge_regression,
    merge_values,
    misfit,
    regression_metrics,
    regression_misfit,
    regression_of,
    standard_deviation,
    sums_of,
)

NUMBER = st.floats(-1e6, 1e6)
NUMBERS = st.lists(NUMBER, min_size=1, max_size=40)
PAIRS = st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=40)


def close(first: ValueSums, second: ValueSums) -> bool:
    scale = max(abs(second.least), abs(second.most), 1e-300)
    return (
        (first.values, first.least, first.most) == (second.values, second.least, second.most)
        and first.mean == pytest.approx(second.mean, rel=1e-12, abs=1e-12 * scale)
        and first.squares == pytest.approx(second.squares, rel=1e-9, abs=1e-12 * scale * scale * second.values)
    )


@given(NUMBERS, NUMBERS, NUMBERS)
def test_sums_merge_as_if_the_numbers_had_come_together(a: list[float], b: list[float], c: list[float]) -> None:
    first, second, third, whole = (sums_of(values) for values in (a, b, c, a + b + c))
    assert merge_values(first, second) == merge_values(second, first), "to the bit"
    assert close(merge_values(merge_values(first, second), third), whole)
    assert close(merge_values(first, merge_values(second, third)), whole)
    assert not misfit(whole)
    assert not misfit(merge_values(first, second))


def test_a_mean_far_from_0_makes_no_spread_inexact() -> None:
    values = 1e9 + np.random.default_rng(1).normal(size=10_000)
    merged = sums_of(values[:1])
    for part in np.split(values[1:], 9):
        merged = merge_values(merged, sums_of(part))
    assert standard_deviation(merged) == pytest.approx(values.std(ddof=1), rel=1e-6)
    assert standard_deviation(sums_of([3.0])) is None


@given(PAIRS, PAIRS)
def test_errors_are_those_of_scikit_learn(first: list[Any], second: list[Any]) -> None:
    merged = merge_regression(*(regression_of(*np.array(pairs).T) for pairs in (first, second)))
    truth, answers = np.array(first + second).T
    found, scale = regression_metrics(merged), np.abs(answers - truth).max()
    assert found.mae == pytest.approx(mean_absolute_error(truth, answers), rel=1e-9, abs=1e-12 * scale)
    assert found.rmse == pytest.approx(mean_squared_error(truth, answers) ** 0.5, rel=1e-9, abs=1e-12 * scale)
    assert found.bias == pytest.approx(float((answers - truth).mean()), rel=1e-9, abs=1e-9 * scale)
    assert not regression_misfit(merged)


def test_the_share_of_explained_variance_is_scikit_learn_s() -> None:
    draw = np.random.default_rng(2)
    truth = draw.normal(1000.0, 5.0, 4000)
    answers = truth + draw.normal(0.5, 2.0, 4000)
    parts = [regression_of(truth[start : start + 10], answers[start : start + 10]) for start in range(0, 4000, 10)]
    merged: RegressionSums = parts[0]
    for part in parts[1:]:
        merged = merge_regression(merged, part)
    assert regression_metrics(merged).r2 == pytest.approx(r2_score(truth, answers), rel=1e-9)
    assert regression_metrics(regression_of([1.0, 1.0], [1.0, 2.0])).r2 is None, "the truth does not vary"


@pytest.mark.parametrize("values", [[], [float("nan")], [float("inf")], [1e31]])
def test_what_can_not_be_added_up_is_refused(values: list[float]) -> None:
    with pytest.raises(NumericsError, match="Adding up"):
        sums_of(values)
    with pytest.raises(NumericsError, match="as many"):
        regression_of([1.0], [1.0, 2.0])


def test_sums_that_no_numbers_have_are_known() -> None:
    honest = regression_of([1.0, 5.0, 2.0], [2.0, 2.0, 2.0])
    spread = honest.errors.model_copy(update={"squares": 1000.0})
    assert "too large" in misfit(spread)
    for absolute in (0.1, 100.0):
        assert "absolute sum" in regression_misfit(honest.model_copy(update={"absolute": absolute}))
    with pytest.raises(ValueError, match="between"):
        ValueSums(values=1, mean=3.0, squares=0.0, least=0.0, most=2.0)


@given(
    centre=st.floats(-1e9, 1e9),
    units=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    size=st.integers(1, 60),
)
def test_numbers_that_differ_by_rounding_alone_are_honest_however_they_are_merged(
    centre: float, units: list[int], size: int
) -> None:
    values = centre + np.spacing(centre) * np.array(units)
    pieces = np.split(values, range(size, len(values), size))
    parts = [regression_of(np.full(len(part), centre), part) for part in pieces]
    errors = [regression_of(part, np.zeros(len(part))) for part in pieces]
    for several in (parts, errors):
        merged = several[0]
        for one in several[1:]:
            merged = merge_regression(merged, one)
        assert not regression_misfit(merged)
        assert regression_metrics(merged).r2 is None, "the truth varies by rounding alone"


@given(st.lists(st.floats(-1e-161, 1e-161), min_size=1, max_size=20))
def test_numbers_whose_squares_vanish_are_honest(values: list[float]) -> None:
    assert not regression_misfit(regression_of(values, np.zeros(len(values))))


def test_a_sum_that_rounding_makes_is_no_lie_and_one_that_is_larger_is() -> None:
    sums = sums_of([0.3, 0.1 + 0.2])
    assert sums.least < sums.most
    assert not misfit(sums)
    assert "too large" in misfit(sums.model_copy(update={"squares": 1e-20}))


def large(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=50) * 1e29


@given(st.integers(0, 50))
def test_the_largest_numbers_stay_finite(seed: int) -> None:
    merged = merge_values(sums_of(large(seed)), sums_of(-large(seed + 1)))
    assert np.isfinite(merged.squares)
    assert not misfit(merged)
