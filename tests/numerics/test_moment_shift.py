"""Tests of moments against scipy's and against samples whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import DriftError, SampleMoments, mean_shift, variance_shift

stats = pytest.importorskip("scipy.stats")

SIZES = st.integers(7, 5000)


def moments(count: float, mean: float, deviation: float) -> SampleMoments:
    return SampleMoments(*(np.array([value]) for value in (float(count), mean, deviation**2)))


@given(SIZES, SIZES, st.floats(0.01, 100), st.floats(0.01, 100), st.floats(-6, 6))
def test_welchs_p_value_is_within_a_thousandth_of_scipys(n: int, m: int, sd: float, other: float, t: float) -> None:
    moved = t * np.sqrt(sd**2 / n + other**2 / m)
    theirs = stats.ttest_ind_from_stats(moved, other, m, 0.0, sd, n, equal_var=False)
    found = mean_shift(moments(n, 0.0, sd), moments(m, moved, other))
    assert found.p_value[0] == pytest.approx(theirs.pvalue, abs=1e-3)
    assert found.size[0] == pytest.approx(moved)


@given(SIZES, st.integers(0, 999))
def test_moments_of_values_are_numpys(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).exponential(size=(n, 3))
    found = SampleMoments.of(values)
    assert found.variance == pytest.approx(values.var(axis=0, ddof=1))
    assert found.fourth is not None
    assert found.fourth == pytest.approx(stats.moment(values, 4, axis=0))
    assert SampleMoments.of(values[:, 0]).mean == pytest.approx(values[:, 0].mean())


def test_constants_are_the_same_or_they_are_not() -> None:
    one = SampleMoments.of(np.full((10, 1), 2.0))
    assert mean_shift(one, SampleMoments.of(np.full((20, 1), 2.0))).p_value == 1.0
    assert mean_shift(one, SampleMoments.of(np.full((20, 1), 2.5))).p_value == 0.0
    assert np.isnan(variance_shift(one, one).p_value)
    assert np.isnan(variance_shift(one, one).size)


def test_too_few_values_are_not_tested() -> None:
    few, many = moments(4, 0.0, 1.0), moments(5000, 9.0, 0.001)
    assert np.isnan(mean_shift(few, many).p_value)
    assert np.isnan(mean_shift(moments(1, 0.0, 0.0), many).p_value)
    assert np.isnan(mean_shift(moments(0, np.nan, np.nan), many).p_value)


def test_a_variance_without_fourth_moments_has_a_size_and_no_p_value() -> None:
    found = variance_shift(moments(500, 0.0, 1.0), moments(500, 0.0, 2.0))
    assert found.size[0] == pytest.approx(np.log(4))
    assert np.isnan(found.standard_error[0])
    assert np.isnan(found.p_value[0])


@pytest.mark.parametrize("law", ["normal", "uniform", "exponential"])
def test_of_stable_variances_about_one_in_twenty_is_below_0_05(law: str) -> None:
    random = np.random.default_rng(11)
    makers: dict[str, Callable[..., np.ndarray]] = {
        "normal": random.standard_normal,
        "uniform": random.random,
        "exponential": random.standard_exponential,
    }
    first, second = (SampleMoments.of(makers[law]((n, 3000))) for n in (2000, 500))
    share = float((variance_shift(first, second).p_value < 0.05).mean())
    assert 0.035 <= share <= 0.08
    assert float((mean_shift(first, second).p_value < 0.05).mean()) == pytest.approx(0.05, abs=0.015)


def test_for_normal_values_it_is_the_log_variance_test_of_the_textbook() -> None:
    random = np.random.default_rng(2)
    first, second = random.standard_normal(20_000), 1.05 * random.standard_normal(20_000)
    found = variance_shift(SampleMoments.of(first), SampleMoments.of(second))
    assert found.standard_error[0] == pytest.approx(np.sqrt(2 / 20_000 + 2 / 20_000), rel=0.05)
    assert found.size[0] == pytest.approx(2 * np.log(1.05), abs=0.05)
    assert found.p_value[0] < 1e-4


def test_what_no_sample_has_is_refused() -> None:
    with pytest.raises(DriftError, match="no negative"):
        SampleMoments(np.array([5.0]), np.array([0.0]), np.array([-1.0]))
    with pytest.raises(DriftError, match="no negative"):
        SampleMoments(np.array([5.0]), np.array([0.0]), np.array([1.0, 1.0]))
    with pytest.raises(DriftError, match="found 1 rows"):
        SampleMoments.of([3.0])
