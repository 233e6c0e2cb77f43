"""Student's law on the normal scale, without scipy, against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics.student_t import MIN_DEGREES, normal_cdf, normal_score, student_score

stats = pytest.importorskip("scipy.stats")

DEGREES = st.floats(MIN_DEGREES, 1e6)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_the_normal_law_is_scipys(z: list[float]) -> None:
    assert normal_cdf(z) == pytest.approx(stats.norm.cdf(z), rel=1e-12, abs=1e-300)


@given(st.floats(-5, 5), DEGREES)
def test_a_t_is_as_far_out_as_its_z(z: float, degrees: float) -> None:
    t = np.copysign(stats.t.isf(stats.norm.sf(abs(z)), degrees), z)
    assert normal_score(t, degrees) == pytest.approx(z, abs=1e-3)


@given(st.floats(-12, 12), DEGREES)
def test_the_way_back_is_the_inverse(z: float, degrees: float) -> None:
    assert normal_score(student_score(z, degrees), degrees) == pytest.approx(z, abs=1e-8)


@given(st.floats(0.01, 5), DEGREES)
def test_few_devices_need_more_standard_errors(z: float, degrees: float) -> None:
    assert student_score(z, degrees) >= z
    assert student_score(z, degrees) >= student_score(z, 2 * degrees)


def test_scores_broadcast() -> None:
    assert student_score(np.zeros((3, 1)), np.full(4, 10.0)).shape == (3, 4)
    assert normal_score(1.0, np.array([5.0, 50.0])).shape == (2,)
