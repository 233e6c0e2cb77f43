"""Which requests are refused when a device is strained: levels with hysteresis, limits by board, models by priority."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.simulators.boards import ORIN, PI4, SERVER, write

from shoal_agent.hardware import detect
from shoal_agent.settings import SheddingSettings
from shoal_agent.shedding import Band, Level, Limits, Strain, limits_for, next_level
from shoal_agent.shedding.choice import shed_models

HEAT = Band(soft=80.0, hard=85.0, hysteresis=5.0)
MEMORY = Band(soft=0.92, hard=0.96, hysteresis=0.04)
TEMPERATURES = st.lists(st.floats(20, 110), min_size=1, max_size=40)
LEVELS = st.sampled_from(Level)


def follow(*temperatures: float) -> list[int]:
    level, found = Level.NONE, []
    for celsius in temperatures:
        level = next_level(level, celsius, HEAT)
        found.append(int(level))
    return found


def test_a_level_begins_at_its_limit_and_ends_only_well_below_it() -> None:
    assert follow(79.9, 80, 79, 75.1, 75, 80) == [0, 1, 1, 1, 0, 1]
    assert follow(85, 84, 80.1, 80, 76, 75) == [2, 2, 2, 1, 1, 0]


def test_a_device_that_cools_down_at_once_takes_everything_at_once_and_heats_up_as_fast() -> None:
    assert follow(90, 40, 90) == [2, 0, 2]


@given(LEVELS, TEMPERATURES)
def test_whatever_it_was_it_sheds_from_the_limits_on_and_nothing_once_it_has_cooled(
    level: Level, temperatures: list[float]
) -> None:
    for celsius in temperatures:
        level = next_level(level, celsius, HEAT)
        assert level >= (Level.ALL_BUT_HIGHEST if celsius >= 85 else Level.LOWEST if celsius >= 80 else Level.NONE)
    assert next_level(level, 75.0, HEAT) == Level.NONE


@given(LEVELS, st.floats(0, 5, exclude_min=True), st.sampled_from([80.0, 85.0]))
def test_a_value_that_wavers_within_the_hysteresis_changes_nothing_after_the_first_time(
    level: Level, below: float, limit: float
) -> None:
    reached = next_level(level, limit, HEAT)
    wavering = [limit - below * 0.99, limit] * 5
    for celsius in wavering:
        reached_now = next_level(reached, celsius, HEAT)
        assert reached_now == reached
        reached = reached_now


def test_a_raspberry_pi_sheds_where_its_firmware_begins_to_slow_it_down(tmp_path: Path) -> None:
    root = write(tmp_path, PI4)
    assert limits_for(SheddingSettings(), detect(root), root).heat == Band(80.0, 85.0, 5.0)


def test_another_board_sheds_just_before_its_kernel_slows_it_down_and_without_a_trip_point_never(
    tmp_path: Path,
) -> None:
    orin, server = write(tmp_path / "orin", ORIN), write(tmp_path / "server", SERVER)
    assert limits_for(SheddingSettings(), detect(orin), orin).heat == Band(94.0, 99.0, 5.0)
    assert limits_for(SheddingSettings(), detect(server), server).heat is None


@pytest.mark.parametrize(
    ("soft_c", "hard_c", "expected"),
    [(60.0, 70.0, (60.0, 70.0)), (60.0, None, (60.0, 60.0)), (None, 70.0, (70.0, 70.0))],
)
def test_the_owner_s_limits_hold_on_every_board(
    tmp_path: Path, soft_c: float | None, hard_c: float | None, expected: tuple[float, float]
) -> None:
    root = write(tmp_path, SERVER)
    band = limits_for(SheddingSettings(soft_c=soft_c, hard_c=hard_c), detect(root), root).heat
    assert band == Band(*expected, 5.0)


def test_a_soft_limit_above_the_hard_one_begins_with_it(tmp_path: Path) -> None:
    root = write(tmp_path, PI4)
    assert limits_for(SheddingSettings(hard_c=70.0), detect(root), root).heat == Band(70.0, 70.0, 5.0)


def test_the_worse_of_heat_and_memory_counts_and_what_no_sensor_tells_sheds_nothing() -> None:
    limits = Limits(HEAT, MEMORY)
    assert Strain().after(82.0, 0.97, limits) == Strain(Level.LOWEST, Level.ALL_BUT_HIGHEST)
    strain = Strain(Level.LOWEST, Level.ALL_BUT_HIGHEST)
    assert (strain.level, strain.reason) == (Level.ALL_BUT_HIGHEST, "memory")
    assert strain.after(None, None, limits) == Strain()
    assert Strain().after(200.0, 0.5, Limits(None, MEMORY)) == Strain()
    assert Strain(Level.LOWEST, Level.LOWEST).reason == "hot"


def test_the_lowest_priority_goes_first_and_then_all_but_the_highest() -> None:
    priorities = {"doorbell": 10, "faces": 5, "plates": 5, "birds": 0}
    assert shed_models(Level.NONE, priorities) == frozenset()
    assert shed_models(Level.LOWEST, priorities) == {"birds"}
    assert shed_models(Level.ALL_BUT_HIGHEST, priorities) == {"birds", "faces", "plates"}


@given(LEVELS, st.dictionaries(st.text(max_size=3), st.integers(-3, 3)))
def test_the_most_important_models_are_never_refused_and_nobody_before_one_less_important(
    level: Level, priorities: dict[str, int]
) -> None:
    shed = shed_models(level, priorities)
    kept = priorities.keys() - shed
    assert {name for name, priority in priorities.items() if priority == max(priorities.values())} <= kept
    assert max((priorities[name] for name in shed), default=-9) < min((priorities[name] for name in kept), default=9)
