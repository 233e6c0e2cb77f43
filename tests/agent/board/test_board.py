"""A board's temperatures, throttling and power are read as its kernel shows them; what is absent is passed over."""

from pathlib import Path

import pytest
from tests.agent.simulators.boards import ORIN, PI4, SERVER, write

from shoal_agent.board import (
    Board,
    Rail,
    Throttle,
    Zone,
    hottest_c,
    power_rails,
    thermal_zones,
    throttles,
    throttling_begins_c,
)


def _nobody() -> str:
    raise AssertionError("the kernel has told, or there is no firmware to ask")


def test_the_zone_of_a_raspberry_pi_is_read_in_degrees(tmp_path: Path) -> None:
    zones = thermal_zones(write(tmp_path, PI4))
    assert zones == (Zone(0, "cpu-thermal", 61.836),)
    assert hottest_c(zones) == 61.836


def test_the_hottest_part_of_a_jetson_is_of_its_chip_and_neither_off_nor_a_constant(tmp_path: Path) -> None:
    zones = thermal_zones(write(tmp_path, ORIN))
    assert [(zone.number, zone.name) for zone in zones] == [(0, "cpu-thermal"), (1, "gpu-thermal"), (10, "PMIC-Die")]
    assert hottest_c(zones) == 63.5


def test_a_board_whose_zones_name_no_processor_goes_by_the_first_one(tmp_path: Path) -> None:
    names = {"sys/class/thermal/thermal_zone0/type": "acpitz\n", "sys/class/thermal/thermal_zone1/type": "wifi\n"}
    temperatures = {f"sys/class/thermal/thermal_zone{n}/temp": f"{40 + 20 * n}000\n" for n in (0, 1)}
    assert hottest_c(thermal_zones(write(tmp_path, names | temperatures))) == 40.0


@pytest.mark.parametrize("content", ["", "hot\n", "\xff\xfe", "9" * 30])
def test_a_zone_that_says_no_temperature_is_passed_over(tmp_path: Path, content: str) -> None:
    zones = thermal_zones(write(tmp_path, {"sys/class/thermal/thermal_zone0/temp": content}))
    assert (zones, hottest_c(zones)) == ((), None)


def test_where_the_kernel_begins_to_slow_down_is_its_lowest_passive_trip_point(tmp_path: Path) -> None:
    assert throttling_begins_c(write(tmp_path / "orin", ORIN)) == 99.0
    assert throttling_begins_c(write(tmp_path / "pi", PI4)) is None


def test_the_firmware_of_a_raspberry_pi_says_why_it_slows_down_now_and_why_it_did(tmp_path: Path) -> None:
    assert throttles(write(tmp_path, PI4), _nobody) == (
        Throttle("under_voltage", is_active=True, has_been_active=True),
        Throttle("frequency_capped", is_active=False, has_been_active=False),
        Throttle("throttled", is_active=True, has_been_active=True),
        Throttle("soft_temperature_limit", is_active=False, has_been_active=False),
    )


def test_a_firmware_that_the_kernel_does_not_speak_for_is_asked_by_its_program(tmp_path: Path) -> None:
    root = write(tmp_path, {"dev/vcio": ""})
    found = throttles(root, lambda: "throttled=0x80008\n")
    assert [one.reason for one in found if one.is_active and one.has_been_active] == ["soft_temperature_limit"]
    assert throttles(root, lambda: "") == ()


def test_a_processor_that_is_slowed_down_by_the_kernel_is_told_and_a_fan_that_runs_is_not(tmp_path: Path) -> None:
    assert throttles(write(tmp_path, ORIN), _nobody) == (
        Throttle("cpufreq-cpu0", is_active=False),
        Throttle("devfreq-17000000.gpu", is_active=True),
    )


def test_a_jetson_s_rails_are_volts_times_amperes_by_their_labels(tmp_path: Path) -> None:
    rails = power_rails(write(tmp_path, ORIN))
    assert rails == (Rail("ina3221", "VDD_IN", 5.0), Rail("ina3221", "VDD_CPU_GPU_CV", 1.245))


def test_other_chips_give_watts_themselves(tmp_path: Path) -> None:
    rails = power_rails(write(tmp_path, SERVER))
    assert rails == (Rail("power_meter", "hwmon0-power1", 42.5), Rail("amdgpu", "PPT", 11.0))


def test_a_machine_that_tells_nothing_has_no_readings(tmp_path: Path) -> None:
    readings = Board(tmp_path, _nobody).read()
    assert (readings.zones, readings.throttles, readings.rails) == ((), (), ())


def test_whoever_asks_often_reads_the_board_once_a_second(tmp_path: Path) -> None:
    now_s = 100.0
    board = Board(write(tmp_path, PI4), _nobody, lambda: now_s)
    first = board.read()
    write(tmp_path, {"sys/class/thermal/thermal_zone0/temp": "70000\n"})
    now_s += 0.9
    assert board.read() is first
    now_s += 0.1
    assert hottest_c(board.read().zones) == 70.0
