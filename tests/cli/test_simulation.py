"""The processes of a simulated fleet: each device is in one, what they say adds up, and one that fails is told."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client import ClientError
from shoal_hub.cli.fleet import RolloutOutcome, SimulationReport, _draw
from shoal_hub.cli.simulation import FleetState, SimulationPlan, VersionTimes, add_up, simulating, split_evenly

COUNTS = st.dictionaries(st.sampled_from(["online", "offline", "off"]), st.integers(0, 1000))
TIMES = st.builds(
    VersionTimes,
    model=st.sampled_from(["a", "b"]),
    version=st.integers(1, 2),
    devices=st.integers(0, 100),
    first_wanted_at_s=st.floats(0, 1e9),
    last_active_at_s=st.none() | st.floats(0, 1e9),
)
STATES = st.lists(
    st.builds(
        FleetState,
        devices=st.integers(0, 1000),
        states=COUNTS,
        versions=st.lists(TIMES, max_size=4, unique_by=lambda one: (one.model, one.version)),
        received_bytes=st.integers(0, 10**12),
    ),
    min_size=1,
    max_size=4,
)


@given(st.integers(1, 10_000), st.integers(1, 64))
def test_every_device_is_in_one_process_and_no_process_is_without_one(devices: int, processes: int) -> None:
    parts = split_evenly(devices, processes)
    numbers = [index for first, count in parts for index in range(first, first + count)]
    assert numbers == list(range(devices))
    sizes = [count for _, count in parts]
    assert (len(parts), max(sizes) - min(sizes) <= 1) == (min(devices, processes), True)


@given(STATES)
def test_what_the_processes_say_adds_up(states: list[FleetState]) -> None:
    total = add_up(states)
    assert total.devices == sum(one.devices for one in states)
    assert total.online == sum(one.online for one in states)
    assert total.received_bytes == sum(one.received_bytes for one in states)
    said = [times for one in states for times in one.versions]
    for times in total.versions:
        same = [one for one in said if (one.model, one.version) == (times.model, times.version)]
        ends = [one.last_active_at_s for one in same if one.last_active_at_s is not None]
        assert times.devices == sum(one.devices for one in same)
        assert times.first_wanted_at_s == min(one.first_wanted_at_s for one in same)
        assert times.last_active_at_s == max(ends, default=None)
    assert len(total.versions) == len({(one.model, one.version) for one in said})


def test_a_process_that_ends_by_itself_is_told_with_what_it_said(tmp_path: Path) -> None:
    plan = SimulationPlan("https://127.0.0.1:1", "", tmp_path, 3, 2, ("--fault=fire=0.1",))
    with simulating(plan) as simulation:
        deadline_s = time.monotonic() + 30

        def wait_for_its_end() -> None:
            while time.monotonic() < deadline_s:
                simulation.state()
                time.sleep(0.05)

        with pytest.raises(ClientError, match="fire: unknown") as told:
            wait_for_its_end()
    assert "simulated-00000" in told.value.remedy


def test_the_report_names_what_became_of_the_devices_and_of_each_rollout(capsys: pytest.CaptureFixture[str]) -> None:
    state = FleetState(devices=3, enrolled=3, states={"online": 3}, active={"digits/2": 3}, faults={"power_cut": 1})
    outcome = RolloutOutcome(id="r-1", model="digits", version=2, state="succeeded", counts={}, last_active_s=4.25)
    _draw(SimulationReport(fleet=state, rollouts=[outcome], wall_s=9.0, processes=2, decommissioned=3))
    told = " ".join(capsys.readouterr().out.split())
    for part in ("3 enrolled of 3", "online=3", "digits/2=3", "power_cut=1", "in 2 processes", "decommissioned 3"):
        assert part in told
    assert "digits version 2 succeeded, last active after 4.2 s" in told


def test_a_process_that_ends_while_all_wait_for_its_fan_out_is_told_at_once(tmp_path: Path) -> None:
    plan = SimulationPlan("https://127.0.0.1:1", "sht-no", tmp_path, 1, 1)
    started_s = time.monotonic()
    with simulating(plan) as simulation, pytest.raises(ClientError, match="ended with status"):
        simulation.fan_out("0" * 64, 1, 1, timeout_s=600)
    assert time.monotonic() - started_s < 300
