"""Heartbeats of watched devices are added up once, with restarts by the uptime that falls back."""

from datetime import timedelta

import pytest
from tests.simulators.rows import NOON, add_device

from shoal_contract.telemetry import Heartbeat
from shoal_hub.context import HubContext
from shoal_hub.gates.tables import Vitals
from shoal_hub.gates.vitals import forget, take_beats, vital_totals, watch
from shoal_hub.registry.tables import Model
from shoal_hub.rollouts.tables import Rollout


def beat(at_s: float, uptime_s: float, temperature_c: float | None = 50.0, memory_mb: int = 100) -> Heartbeat:
    return Heartbeat(
        at=NOON + timedelta(seconds=at_s),
        uptime_s=uptime_s,
        memory_bytes=memory_mb * 1_000_000,
        load=0.5,
        temperature_c=temperature_c,
        outbox_depth=0,
        connection=1,
        sequence=int(at_s),
    )


@pytest.fixture
def devices(hub: HubContext) -> list[str]:
    with hub.database.transaction() as session:
        ids = [add_device(session, name=f"device-{number}").id for number in range(3)]
        session.add(Model(name="digits", created_at=NOON))
        session.flush()
        for rollout_id in ("r-1", "r-2"):
            session.add(rollout_row(rollout_id))
        session.flush()
        watch(session, "r-1", ids[:2])
    return ids


def rollout_row(rollout_id: str) -> Rollout:
    session_free = {"model": "digits", "version": 1, "manifest_sha256": "0" * 64, "manifest_size_bytes": 1}
    return Rollout(id=rollout_id, waves=[1], timeout_s=600, created_by="test", created_at=NOON, **session_free)


def take(hub: HubContext, device_id: str, *beats: Heartbeat) -> None:
    with hub.database.transaction() as session:
        take_beats(session, {device_id: list(beats)}, NOON + timedelta(days=8))


def test_what_counts_begins_at_the_mark(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 100, 50), beat(30, 130, 60))
    with hub.database.transaction() as session:
        watch(session, "r-1", devices[:2])
    take(hub, devices[0], beat(60, 160, 70, 200), beat(90, 5, 80, 400), beat(120, 35, None, 300))
    with hub.database.session() as session:
        before, after = vital_totals(session, "r-1", devices, "temperature")
        assert (before.weight.tolist(), after.values.tolist()) == ([0, 0, 0], [75, 0, 0])
        _, after = vital_totals(session, "r-1", devices, "memory")
        assert after.values.tolist() == [300, 0, 0]
        _, after = vital_totals(session, "r-1", devices, "restarts")
        assert (after.numerator.tolist(), after.weight.tolist()) == ([1, 0, 0], [90 / 86_400, 0, 0])


def test_two_rollouts_watch_one_device_each_from_its_own_mark(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 100, 50))
    with hub.database.transaction() as session:
        watch(session, "r-2", devices)
    take(hub, devices[0], beat(30, 130, 70))
    with hub.database.transaction() as session:
        assert vital_totals(session, "r-1", devices, "temperature")[1].values[0] == 60
        assert vital_totals(session, "r-2", devices, "temperature")[1].values[0] == 70
        forget(session, "r-2")
    with hub.database.session() as session:
        assert vital_totals(session, "r-1", devices, "temperature")[1].values[0] == 60


def row_of(hub: HubContext, device_id: str) -> Vitals | None:
    with hub.database.session() as session:
        return session.get(Vitals, ("r-1", device_id))


def test_a_heartbeat_that_is_repeated_late_or_of_a_wrong_clock_counts_once_or_not(
    hub: HubContext, devices: list[str]
) -> None:
    take(hub, devices[0], beat(0, 100), beat(30, 130))
    take(hub, devices[0], beat(30, 130), beat(10, 110), beat(365 * 86_400, 140))
    take(hub, devices[0], beat(60, 160))
    row = row_of(hub, devices[0])
    assert row is not None
    assert (row.beats, row.restarts, row.observed_s) == (3, 0, 60)


def test_a_start_after_a_long_silence_is_of_a_board_that_was_off(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 100), beat(7 * 86_400, 50))
    row = row_of(hub, devices[0])
    assert row is not None
    assert (row.restarts, row.observed_s) == (0, 0)


def test_what_no_sensor_can_say_is_not_added_up(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 1, 1.7e308), beat(30, 31, 40))
    with hub.database.session() as session:
        assert vital_totals(session, "r-1", devices, "temperature")[1].values[0] == 40


def test_devices_that_nobody_watches_leave_nothing(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[2], beat(0, 100))
    assert row_of(hub, devices[2]) is None
    with hub.database.transaction() as session:
        forget(session, "r-1")
    take(hub, devices[0], beat(0, 100))
    assert row_of(hub, devices[0]) is None
