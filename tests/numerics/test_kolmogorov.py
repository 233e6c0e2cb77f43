"""Our few terms of Kolmogorov's law against scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_numerics import kolmogorov_p_value
from shoal_numerics.kolmogorov import kolmogorov_survival

special = pytest.importorskip("scipy.special")
stats = pytest.importorskip("scipy.stats")


@given(st.lists(st.floats(0, 50), min_size=1, max_size=50))
def test_the_limit_law_is_scipys(scaled: list[float]) -> None:
    ours = kolmogorov_survival(np.array(scaled))
    assert ours == pytest.approx(special.kolmogorov(scaled), rel=1e-9, abs=1e-14)


@given(st.integers(40, 5000), st.integers(40, 5000), st.floats(0, 1))
def test_p_values_are_within_a_thousandth_of_scipys_two_sample_test(first: int, second: int, level: float) -> None:
    effective = round(first * second / (first + second))
    # The distances that matter lie around 1 / sqrt(n).
    distance = min(2 * level / np.sqrt(effective), 1.0)
    ours = kolmogorov_p_value(np.array([distance]), np.array([first]), np.array([second]))
    exact_effective = first * second / (first + second)
    # scipy rounds the effective size, which moves the p-value more than the approximation does.
    rounding = abs(
        stats.kstwo.sf(distance, np.floor(exact_effective)) - stats.kstwo.sf(distance, np.ceil(exact_effective))
    )
    assert ours[0] == pytest.approx(stats.kstwo.sf(distance, effective), abs=1e-3 + rounding)


@given(st.integers(20, 500), st.floats(0, 0.3), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_of_samples_of_one_size_the_p_value_is_that_of_ks_2samp(half: int, moved: float, seed: int) -> None:
    # Of two samples of 2 m values the effective size is m, which scipy then does not round.
    random = np.random.default_rng(seed)
    first, second = random.standard_normal(2 * half), random.standard_normal(2 * half) + moved
    theirs = stats.ks_2samp(first, second, method="asymp")
    sizes = np.array([2 * half])
    assert kolmogorov_p_value(np.array([theirs.statistic]), sizes, sizes)[0] == pytest.approx(theirs.pvalue, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_p_value_agrees_with_ks_2samp_on_real_samples(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.standard_normal(800), random.standard_normal(800) + 0.04 * seed
    theirs = stats.ks_2samp(first, second, method="asymp")
    ours = kolmogorov_p_value(np.array([theirs.statistic]), np.array([800]), np.array([800]))
    assert ours[0] == pytest.approx(theirs.pvalue, abs=1e-3)


def test_no_p_value_without_samples() -> None:
    found = kolmogorov_p_value(np.array([0.5, 0.5, np.nan, 0.0]), np.array([0, 10, 10, 10]), np.array([10, 0, 10, 10]))
    assert np.isnan(found).tolist() == [True, True, True, False]
    assert found[3] == pytest.approx(1.0)
