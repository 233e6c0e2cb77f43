"""The devices of a trial are told once the delta from what serves is there, or has been waited for long enough."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session, select
from tests.hub.trials.test_trials import URL, told
from tests.simulators.delta_fleet import Fleet, fleet_on_version_1

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.transfer.deltas import end_unwanted_deltas
from shoal_hub.transfer.tables import Lease
from shoal_hub.trials.tell import tell_trials

WAIT = timedelta(seconds=120)


@pytest.fixture
def fleet(hub: HubContext, tmp_path: Path) -> Fleet:
    return fleet_on_version_1(hub, tmp_path)


def start(client: TestClient, **changes: Any) -> Any:
    answer = client.post(URL, json={"model": "digits", "version": "2"} | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


def waits(client: TestClient, trial: Any) -> bool:
    return bool(client.get(f"{URL}/{trial['id']}").json()["is_waiting_for_deltas"])


def leases(session: Session, trial: Any) -> set[str]:
    return set(session.exec(select(Lease.sha256).where(Lease.user == f"trial/{trial['id']}")))


def test_devices_are_told_once_the_delta_from_what_serves_stands_at_the_broker(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    trial = start(client)
    assert trial["is_waiting_for_deltas"]
    for do in (fleet.do_jobs, fleet.publish):
        tell_trials(hub.database, utc_now(), WAIT)
        assert told(hub, fleet.ids[0]) == []
        do()
    tell_trials(hub.database, utc_now(), WAIT)
    (body,) = told(hub, fleet.ids[0])
    assert body["candidate"]["version"] == 2
    assert not waits(client, trial)
    (delta,) = fleet.deltas()
    assert (delta.base_sha256, delta.result_sha256) == (fleet.travels(1), fleet.travels(2))
    assert fleet.manifest_of(2).deltas.keys() == {delta.base_sha256}
    with hub.database.session() as session:
        assert {fleet.travels(2), delta.artifact_sha256} < leases(session, trial)
        (until,) = session.exec(select(Intent.until).where(Intent.section == "trials/digits"))
    assert until is not None, "a device that hears no more ends it by itself"


def test_with_a_delta_that_is_there_already_devices_are_told_at_once(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    fleet.roll_out(2)
    fleet.do_jobs()
    fleet.publish()
    trial = start(client)
    assert not trial["is_waiting_for_deltas"]
    assert len(told(hub, fleet.ids[0])) == 1


def test_a_delta_that_is_late_holds_nothing_up_for_long(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    trial = start(client)
    tell_trials(hub.database, utc_now() + WAIT / 2, WAIT)
    assert waits(client, trial)
    tell_trials(hub.database, utc_now() + WAIT * 1.1, WAIT)
    assert len(told(hub, fleet.ids[0])) == 1


def test_a_trial_that_ends_while_it_waits_tells_nobody_and_its_delta_is_not_made(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    trial = start(client)
    client.post(f"{URL}/{trial['id']}/stop")
    tell_trials(hub.database, utc_now() + 2 * WAIT, WAIT)
    assert told(hub, fleet.ids[0]) == []
    end_unwanted_deltas(hub.database)
    assert [one.state for one in fleet.deltas()] == ["failed"]


def test_a_device_that_was_revoked_while_it_waited_is_not_told(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    trial = start(client)
    with hub.database.transaction() as session:
        session.get_one(Device, fleet.ids[0]).revoked_at = utc_now()
    tell_trials(hub.database, utc_now() + 2 * WAIT, WAIT)
    assert told(hub, fleet.ids[0]) == []
    assert not waits(client, trial), "nobody is left to tell"


def test_devices_that_are_told_are_not_told_anew(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    assert start(client)["devices"][0]["device_id"] == fleet.ids[0]
    numbers = set()
    for _ in range(2):
        tell_trials(hub.database, utc_now() + 2 * WAIT, WAIT)
        with hub.database.session() as session:
            numbers.add(session.exec(select(Intent.id).where(Intent.section == "trials/digits")).one())
    assert len(numbers) == 1, "the intents of the first time stand"


def test_a_short_trial_waits_for_half_of_its_time_at_most(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    start(client, duration_s=60)
    tell_trials(hub.database, utc_now() + timedelta(seconds=25), WAIT)
    assert told(hub, fleet.ids[0]) == []
    tell_trials(hub.database, utc_now() + timedelta(seconds=31), WAIT)
    assert len(told(hub, fleet.ids[0])) == 1
