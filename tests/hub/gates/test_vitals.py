"""Heartbeats of watched devices are added up once, with restarts by the uptime that falls back."""

from datetime import timedelta

import pytest
from tests.simulators.rows import NOON, add_device

from shoal_contract.telemetry import Heartbeat
from shoal_hub.context import HubContext
from shoal_hub.gates.tables import Vitals
from shoal_hub.gates.vitals import forget, take_beats, vital_totals, watch


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
        watch(session, ids[:2])
    return ids


def take(hub: HubContext, device_id: str, *beats: Heartbeat) -> None:
    with hub.database.transaction() as session:
        take_beats(session, {device_id: list(beats)})


def test_means_and_restarts_count_from_the_mark_on_and_before_it_apart(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 100, 50), beat(30, 130, 60))
    with hub.database.transaction() as session:
        watch(session, devices[:2])
    take(hub, devices[0], beat(60, 160, 70, 200), beat(90, 5, 80, 400), beat(120, 35, None, 300))
    with hub.database.session() as session:
        before, after = vital_totals(session, devices, "temperature")
        assert (before.values.tolist(), after.values.tolist()) == ([55, 0, 0], [75, 0, 0])
        before, after = vital_totals(session, devices, "memory")
        assert (before.values.tolist(), after.values.tolist()) == ([100, 0, 0], [300, 0, 0])
        _, after = vital_totals(session, devices, "restarts")
        assert (after.numerator.tolist(), after.weight.tolist()) == ([1, 0, 0], [90 / 86_400, 0, 0])


def test_a_heartbeat_that_is_repeated_or_late_counts_once(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 100), beat(30, 130))
    take(hub, devices[0], beat(30, 130), beat(10, 110))
    with hub.database.session() as session:
        row = session.get_one(Vitals, devices[0])
        assert (row.beats, row.restarts, row.observed_s) == (2, 0, 30)


def test_a_silence_is_no_time_observed(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 100), beat(7 * 86_400, 50))
    with hub.database.session() as session:
        row = session.get_one(Vitals, devices[0])
        assert (row.restarts, row.observed_s) == (1, 0)


def test_devices_that_nobody_watches_leave_nothing(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[2], beat(0, 100))
    with hub.database.transaction() as session:
        assert session.get(Vitals, devices[2]) is None
        forget(session, devices)
    take(hub, devices[0], beat(0, 100))
    with hub.database.session() as session:
        assert session.get(Vitals, devices[0]) is None
