"""Waves from counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_hub.errors import InvalidInputError
from shoal_hub.rollouts.plan import plan_waves


@pytest.mark.parametrize(
    ("devices", "counts", "waves"),
    [(3, [1, 2], [1, 2]), (10, [1, 2], [1, 9]), (2, [1, 5, 5], [1, 1]), (4, [], [4]), (1, [1, 2], [1])],
)
def test_the_remainder_joins_the_last_wave(devices: int, counts: list[int], waves: list[int]) -> None:
    assert plan_waves(devices, counts) == waves


@given(st.integers(1, 1000), st.lists(st.integers(1, 100), max_size=10))
def test_every_device_is_in_one_wave_and_no_wave_is_empty(devices: int, counts: list[int]) -> None:
    waves = plan_waves(devices, counts)
    assert sum(waves) == devices
    assert all(waves)


@pytest.mark.parametrize(("devices", "counts"), [(0, [1]), (3, [1, 0]), (3, [-1])])
def test_waves_that_make_no_sense_are_refused(devices: int, counts: list[int]) -> None:
    with pytest.raises(InvalidInputError):
        plan_waves(devices, counts)
