"""Weighted averages of updates: laws, and weights that are refused."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal_numerics import UpdateError, weighted_mean

UPDATE = hnp.arrays(np.float32, (3, 2), elements=st.floats(-1e6, 1e6, width=32))
COHORTS = st.lists(st.tuples(UPDATE, st.integers(1, 10**6)), min_size=1, max_size=8)


@given(COHORTS)
def test_the_mean_is_numpys_average(cohort: list[tuple[np.ndarray, int]]) -> None:
    updates, weights = zip(*cohort, strict=True)
    mean = weighted_mean([[update] for update in updates], weights)[0]
    expected = np.average(np.array(updates, dtype=np.float64), axis=0, weights=weights)
    assert mean == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert mean.dtype == np.float32


@given(UPDATE, st.lists(st.integers(1, 1000), min_size=1, max_size=5))
def test_the_mean_of_equal_updates_is_that_update(update: np.ndarray, weights: list[int]) -> None:
    assert weighted_mean([[update]] * len(weights), weights)[0] == pytest.approx(update, rel=1e-6)


def test_updates_of_weight_zero_count_for_nothing() -> None:
    one, two = [np.ones(2, dtype=np.float32)], [np.full(2, 2, dtype=np.float32)]
    assert weighted_mean([one, two], [0, 3])[0].tolist() == [2, 2]


def test_updates_are_taken_one_at_a_time() -> None:
    held = []

    def updates() -> Iterator[list[np.ndarray]]:
        for value in range(3):
            held.append(value)
            yield [np.full(2, value, dtype=np.float32)]

    assert weighted_mean(updates(), [1, 1, 2])[0].tolist() == [1.25, 1.25]
    assert held == [0, 1, 2]


def test_the_sum_of_large_weights_does_not_lose_small_changes() -> None:
    updates = [[np.array([1.0], dtype=np.float32)], [np.array([1.0 + 2**-23], dtype=np.float32)]] * 500
    assert weighted_mean(updates, [10**6, 10**6 + 1] * 500)[0][0] in (1.0, np.float32(1 + 2**-23))


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [3, -1], [1, float("nan")], [1, float("inf")], [0, 0]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(UpdateError, match="weight"):
        weighted_mean([[np.ones(1, dtype=np.float32)]] * 2, weights)


def test_no_updates_other_shapes_and_nan_are_refused() -> None:
    with pytest.raises(UpdateError, match="at least one update"):
        weighted_mean([], [])
    with pytest.raises(UpdateError, match="shapes"):
        weighted_mean([[np.ones(1, dtype=np.float32)], [np.ones(2, dtype=np.float32)]], [1, 1])
    with pytest.raises(UpdateError, match="NaN"):
        weighted_mean([[np.array([np.nan], dtype=np.float32)]], [1])
