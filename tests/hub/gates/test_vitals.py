"""Heartbeats of watched devices are added up once, with restarts by the uptime that falls back."""

from datetime import timedelta

import numpy as np
import pytest
from sqlmodel import Session, col, select
from tests.hub.statements import statements
from tests.simulators.rows import NOON, add_device

from shoal_contract.telemetry import Heartbeat
from shoal_hub.context import HubContext
from shoal_hub.devices.tables import Device
from shoal_hub.gates.plan import MetricName
from shoal_hub.gates.tables import Vitals
from shoal_hub.gates.vitals import forget, take_beats, vital_totals, watch
from shoal_hub.registry.tables import Model
from shoal_hub.rollouts.tables import Rollout
from shoal_numerics import DeviceTotals


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
        ids = sorted(add_device(session, name=f"device-{number}").id for number in range(3))
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


def totals(session: Session, rollout_id: str, metric: MetricName) -> tuple[DeviceTotals, DeviceTotals]:
    """Return one metric of all devices, by their ids."""
    return vital_totals(session, rollout_id, select(Device.id), {metric})[metric]


def test_what_counts_begins_at_the_mark(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 100, 50), beat(30, 130, 60))
    with hub.database.transaction() as session:
        watch(session, "r-1", devices[:2])
    take(hub, devices[0], beat(60, 160, 70, 200), beat(90, 5, 80, 400), beat(120, 35, None, 300))
    with hub.database.session() as session:
        before, after = totals(session, "r-1", "temperature")
        assert (before.weight.tolist(), after.values.tolist()) == ([0, 0], [75, 0])
        _, after = totals(session, "r-1", "memory")
        assert after.values.tolist() == [300, 0]
        _, after = totals(session, "r-1", "restarts")
        assert (after.numerator.tolist(), after.weight.tolist()) == ([1, 0], [90 / 86_400, 0])


def test_two_rollouts_watch_one_device_each_from_its_own_mark(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[0], beat(0, 100, 50))
    with hub.database.transaction() as session:
        watch(session, "r-2", devices)
    take(hub, devices[0], beat(30, 130, 70))
    with hub.database.transaction() as session:
        assert totals(session, "r-1", "temperature")[1].values[0] == 60
        assert totals(session, "r-2", "temperature")[1].values[0] == 70
        forget(session, "r-2")
    with hub.database.session() as session:
        assert totals(session, "r-1", "temperature")[1].values[0] == 60


def test_devices_of_one_side_alone_are_looked_at_each_metric_by_what_it_counts(
    hub: HubContext, devices: list[str]
) -> None:
    for device_id in devices:
        take(hub, device_id, beat(0, 100, 50, 200), beat(30, 130, 60, 400))
    of_one = select(Device.id).where(col(Device.id).in_([devices[1], devices[2]]))
    with hub.database.session() as session:
        found = vital_totals(session, "r-1", of_one, {"temperature", "memory"})
    values = {name: after.values.tolist() for name, (_, after) in found.items()}
    assert values == {"temperature": [55], "memory": [300]}, "the last device is not watched"


def test_a_mark_is_taken_off_to_the_last_digit(hub: HubContext, devices: list[str]) -> None:
    """Otherwise a device that has said nothing since would weigh less than nothing, and no gate could be read."""
    take(
        hub, devices[0], *(beat(at_s, 100 + at_s, 0.1 + at_s / 7) for at_s in np.cumsum([0.1, 0.7, 1 / 3, 2 / 3, 1e-6]))
    )
    with hub.database.transaction() as session:
        watch(session, "r-1", devices[:2])
    with hub.database.session() as session:
        for metric in ("temperature", "restarts"):
            _, after = totals(session, "r-1", metric)
            assert (after.numerator.tolist(), after.weight.tolist()) == ([0, 0], [0, 0])


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
        assert totals(session, "r-1", "temperature")[1].values[0] == 40


def test_devices_that_nobody_watches_leave_nothing(hub: HubContext, devices: list[str]) -> None:
    take(hub, devices[2], beat(0, 100))
    assert row_of(hub, devices[2]) is None
    with hub.database.transaction() as session:
        forget(session, "r-1")
    take(hub, devices[0], beat(0, 100))
    assert row_of(hub, devices[0]) is None


def test_heartbeats_of_many_take_one_look_and_one_write_and_none_where_nothing_counts(
    hub: HubContext, devices: list[str]
) -> None:
    with hub.database.transaction() as session:
        watch(session, "r-2", devices)
    with statements(hub.database) as seen, hub.database.transaction() as session:
        take_beats(session, {one: [beat(0, 100), beat(30, 130)] for one in devices}, NOON)
    assert seen == ["SELECT", "UPDATE"]
    with statements(hub.database) as seen, hub.database.transaction() as session:
        take_beats(session, {one: [beat(30, 130)] for one in devices}, NOON)
        take_beats(session, {}, NOON)
    assert seen == ["SELECT"]
    with hub.database.session() as session:
        rows = session.exec(select(Vitals)).all()
    assert sorted((row.rollout_id, row.device_id) for row in rows if row.beats == 2) == sorted(
        [("r-1", one) for one in devices[:2]] + [("r-2", one) for one in devices]
    )
