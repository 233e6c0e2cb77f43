"""A sample lies in a slice by one rule, and counts of slices merge exactly."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.slices import SliceCounts
from shoal_numerics import HistogramError
from shoal_numerics.slices import in_slice, merge_slices

numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)
bounds = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(numbers, max_size=30), bounds, bounds)
def test_the_lower_bound_is_outside_and_the_upper_one_inside(
    values: list[float], low: float | None, high: float | None
) -> None:
    expected = [not math.isnan(one) and (low is None or one > low) and (high is None or one <= high) for one in values]
    assert in_slice(np.array(values, dtype=np.float32), low, high, None).tolist() == expected


def test_a_value_that_is_equal_as_float32_lies_in_the_slice() -> None:
    values = np.array([0.1, 0.2, np.nan], dtype=np.float32)
    assert in_slice(values, None, None, 0.1).tolist() == [True, False, False]


counts = st.builds(
    SliceCounts,
    samples=st.integers(0, 2**40),
    predictions=st.tuples(*[st.integers(0, 2**40)] * 3),
    confidence=st.tuples(*[st.integers(0, 2**40)] * 2),
)


@given(counts, counts, counts)
def test_counts_merge_in_any_order(one: SliceCounts, two: SliceCounts, three: SliceCounts) -> None:
    left, right = merge_slices(merge_slices(one, two), three), merge_slices(three, merge_slices(two, one))
    assert left == right
    assert left.predictions[0] == one.predictions[0] + two.predictions[0] + three.predictions[0]


def test_counts_of_other_labels_do_not_merge() -> None:
    with pytest.raises(HistogramError, match="found 1 and 2 labels"):
        merge_slices(
            SliceCounts(samples=0, predictions=(0,), confidence=()),
            SliceCounts(samples=0, predictions=(0, 0), confidence=()),
        )
