"""The chi-squared law, without scipy, against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics.gamma_tail import chi_squared_survival, upper_gamma

special = pytest.importorskip("scipy.special")
stats = pytest.importorskip("scipy.stats")


@given(st.floats(0.01, 50_000), st.floats(-8, 30))
def test_the_chi_squared_law_is_scipys(degrees: float, deviations: float) -> None:
    statistic = max(degrees + deviations * np.sqrt(2 * degrees), 0.0)
    assert chi_squared_survival(statistic, degrees) == pytest.approx(stats.chi2.sf(statistic, degrees), abs=1e-10)


@given(st.floats(0.05, 100), st.floats(0, 500))
def test_far_tails_keep_their_digits(a: float, x: float) -> None:
    theirs = special.gammaincc(a, x)
    assert upper_gamma(a, x) == pytest.approx(theirs, rel=1e-9, abs=1e-13)


def test_arguments_broadcast_and_what_is_no_number_stays_none() -> None:
    found = chi_squared_survival([[0.0], [np.inf], [np.nan], [-1.0]], [1.0, 0.0, -2.0])
    assert found.shape == (4, 3)
    assert found[:2, 0].tolist() == [1.0, 0.0]
    assert np.isnan(found[2:]).all()
    assert np.isnan(found[:, 1:]).all()
