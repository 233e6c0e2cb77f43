"""Waves from counts, shares and rates, and who is drawn into which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_hub.errors import InvalidInputError
from shoal_hub.rollouts.request import ExponentialRate
from shoal_hub.rollouts.waves import choose_held_back, plan_waves, shuffled


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


@pytest.mark.parametrize(
    ("devices", "shares", "waves"),
    [
        (100, ["5%", "25%", "100%"], [5, 20, 75]),
        (3, ["5%", "25%", "100%"], [1, 2]),
        (10, ["10%", "20%"], [1, 9]),
        (100_000, ["0.1%", "1%", "100%"], [100, 900, 99_000]),
        (10_000, ["0.57%", "100%"], [57, 9943]),
    ],
)
def test_shares_are_cumulative_and_rounded_up(devices: int, shares: list[str], waves: list[int]) -> None:
    assert plan_waves(devices, shares) == waves


@pytest.mark.parametrize("shares", [["25%", "5%"], ["5%", "5%"], ["50%", "101%"], ["0%", "50%"]])
def test_shares_that_do_not_rise_to_the_whole_are_refused(shares: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="shares have to rise"):
        plan_waves(10, shares)


def test_a_rate_makes_each_wave_a_factor_larger() -> None:
    assert plan_waves(100, rate=ExponentialRate(first=5, factor=2)) == [5, 10, 20, 40, 25]
    assert len(plan_waves(1000, rate=ExponentialRate(first=1, factor=1))) == 64


@given(st.integers(1, 3000), st.integers(1, 50), st.floats(1, 10))
def test_a_rate_puts_every_device_into_one_wave(devices: int, first: int, factor: float) -> None:
    waves = plan_waves(devices, rate=ExponentialRate(first=first, factor=factor))
    assert (sum(waves), all(waves)) == (devices, True)


@given(st.sets(st.text(min_size=1), min_size=1, max_size=50), st.integers(0, 2**31 - 1), st.floats(0, 99))
def test_the_draw_depends_on_the_seed_alone(devices: set[str], seed: int, percent: float) -> None:
    turned = sorted(devices, reverse=True)
    assert shuffled(devices, seed) == shuffled(turned, seed)
    held_back = choose_held_back(devices, percent, seed)
    assert held_back == choose_held_back(turned, percent, seed)
    assert len(held_back) == min(round(len(devices) * percent / 100), len(devices) - 1)


def test_another_seed_draws_others_and_being_held_back_tells_nothing_of_the_order() -> None:
    devices = [f"d-{number}" for number in range(200)]
    assert shuffled(devices, 1) != shuffled(devices, 2)
    assert choose_held_back(devices, 10, 1) != choose_held_back(devices, 10, 2)
    assert choose_held_back(devices, 50, 1) != frozenset(shuffled(devices, 1)[:100])
