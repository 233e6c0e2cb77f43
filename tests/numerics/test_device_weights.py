"""How devices' noise is split, and the bound on what one of them may carry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shoal_numerics.device_weights import Spread, bounded, spread_of

WEIGHTS = arrays(np.float64, st.integers(1, 40), elements=st.one_of(st.just(0.0), st.floats(1e-3, 1e6)))


@given(WEIGHTS, st.sampled_from([0.1, 0.2, 0.34, 0.5, 1.0]))
def test_no_device_is_above_its_share_where_there_are_enough(weight: np.ndarray, max_share: float) -> None:
    found = bounded(weight, max_share)
    assert (found <= weight).all()
    devices = np.count_nonzero(weight)
    if devices * max_share >= 1:
        assert found.max() <= max_share * found.sum() * (1 + 1e-6)
    elif devices:
        assert found[weight > 0] == pytest.approx(weight[weight > 0].min(), rel=1e-9)


@given(WEIGHTS, st.sampled_from([0.1, 0.2, 0.5]))
def test_only_the_largest_weights_are_lowered_and_no_more_than_needed(weight: np.ndarray, max_share: float) -> None:
    found = bounded(weight, max_share)
    is_lowered = found < weight * (1 - 1e-9)
    if is_lowered.any() and np.count_nonzero(weight) * max_share >= 1:
        assert found[is_lowered] == pytest.approx(found.max(), rel=1e-9)
        assert found.max() == pytest.approx(max_share * found.sum(), rel=1e-6)


def test_rows_are_bounded_each_by_itself() -> None:
    rows = np.array([[1.0, 1.0, 1.0, 97.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 5.0, 9.0]])
    found = bounded(rows, 0.5)
    assert found[0] == pytest.approx([1, 1, 1, 3])
    assert found[1] == pytest.approx(rows[1])
    assert found[2] == pytest.approx([0, 0, 5, 5])


def drawn(devices: int, samples: np.ndarray, between: float, within: float) -> np.ndarray:
    random = np.random.default_rng(3)
    values = random.normal(0, np.sqrt(between + within / samples), devices)
    return values - (values * samples).sum() / samples.sum()


@pytest.mark.parametrize("between", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("is_known", [True, False])
def test_the_two_parts_of_the_noise_are_told_apart(between: float, *, is_known: bool) -> None:
    samples = np.random.default_rng(4).integers(5, 500, 20_000).astype(np.float64)
    deviations = drawn(20_000, samples, between, 2.0)
    found = spread_of(deviations, samples, np.array([2.0]) if is_known else None, fitted=1)
    assert found.between[0] == pytest.approx(between, rel=0.1, abs=0.002)
    assert found.within[0] == pytest.approx(2.0, rel=0.1)


def test_weights_follow_samples_until_devices_differ() -> None:
    samples = np.array([1.0, 10.0, 100.0, 0.0])
    alike = Spread(between=np.array([0.0]), within=np.array([2.0]))
    assert alike.precision(samples) == pytest.approx(samples / 2)
    assert alike.shrinkage(samples) == pytest.approx([0, 0, 0, 0])
    different = Spread(between=np.array([5.0]), within=np.array([0.0]))
    assert different.precision(samples) == pytest.approx([0.2, 0.2, 0.2, 0])
    assert different.shrinkage(samples) == pytest.approx([1, 1, 1, 0])
    both = Spread(between=np.array([1.0]), within=np.array([10.0]))
    assert both.shrinkage(samples) == pytest.approx([1 / 11, 0.5, 10 / 11, 0])


def test_equal_weights_are_not_told_apart_and_need_not_be() -> None:
    found = spread_of(np.array([1.0, -1.0, 2.0, -2.0]), np.full(4, 7.0), None, fitted=1)
    assert found.within[0] == 0
    assert found.between[0] == pytest.approx(2.5)
