"""Choosing by e-values against its definition, and the weights of starts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import DriftError
from shoal_numerics.e_values import e_benjamini_hochberg, start_weight

E_VALUES = st.lists(st.one_of(st.floats(0, 1e6), st.sampled_from([0.0, 20.0, 40.0, math.inf, math.nan])), max_size=12)


@given(E_VALUES, st.floats(0.001, 0.5))
def test_the_k_largest_are_rejected_for_the_largest_k_that_fits(values: list[float], alpha: float) -> None:
    known = sorted((value for value in values if not math.isnan(value)), reverse=True)
    fitting = [k for k in range(1, len(known) + 1) if known[k - 1] * k * alpha >= len(known)]
    least = known[max(fitting) - 1] if fitting else math.nan
    rejected = e_benjamini_hochberg(values, alpha)
    assert rejected.tolist() == [value >= least for value in values]


@given(E_VALUES, st.floats(0.001, 0.5), st.floats(0, 100))
def test_the_small_ones_need_not_be_given(values: list[float], alpha: float, least: float) -> None:
    known = [value for value in values if not math.isnan(value)]
    large = [value for value in known if value > least]
    found = e_benjamini_hochberg(large, alpha, len(known))
    assert [value for value, is_in in zip(large, found, strict=True) if is_in] == [
        value for value, is_in in zip(known, e_benjamini_hochberg(known, alpha), strict=True) if is_in and value > least
    ] or least * alpha > 1  # what is left out could have been rejected as well
    with pytest.raises(DriftError, match="tests"):
        e_benjamini_hochberg([*known, 1.0], alpha, len(known))


def test_one_feature_of_thirty_needs_thirty_times_the_evidence() -> None:
    values = np.ones(30)
    values[4] = 599
    assert not e_benjamini_hochberg(values, 0.05).any()
    values[4] = 600
    assert np.flatnonzero(e_benjamini_hochberg(values, 0.05)).tolist() == [4]


def test_where_many_have_moved_each_needs_less() -> None:
    assert e_benjamini_hochberg(np.full((10, 3), 20.0), 0.05).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_an_alpha_out_of_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(DriftError, match="alpha"):
        e_benjamini_hochberg([1.0], alpha)


def test_a_negative_e_value_is_refused() -> None:
    with pytest.raises(DriftError, match="0 or more"):
        e_benjamini_hochberg([1.0, -0.1], 0.05)


def test_all_starts_together_weigh_at_most_one() -> None:
    first = sum(start_weight(start) for start in range(1, 100_000))
    rest = start_weight(1) * 31 * math.log(31) ** 2 / math.log(100_030)  # the integral of the same from there on
    assert 0.99 < first + rest <= 1


def test_a_start_is_counted_from_one() -> None:
    with pytest.raises(DriftError, match="start"):
        start_weight(0)
