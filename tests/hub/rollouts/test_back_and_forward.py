"""Back from a rollout that was aborted and left devices where they were; forward again from one that had no plan."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.rollouts.test_rollout_routes import TARGET, URL, Fleet
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import add_device, section

from shoal_contract.reported import ModelReport, SlotReport
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import Device
from shoal_hub.rollouts.joiners import LOOK_EVERY_S
from shoal_hub.rollouts.tables import Deployment, Rollout


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    return Fleet(hub, 3)


def start(client: TestClient, fleet: Fleet, version: str, **plan: Any) -> Any:
    answer = client.post(URL, json={"model": "digits", "version": version, "devices": fleet.ids} | plan)
    assert answer.status_code == 201, answer.text
    fleet.settle()
    return answer.json()


def state(client: TestClient, rollout: Any) -> Any:
    return client.get(f"{URL}/{rollout['id']}").json()["state"]


def aborted_after_one(client: TestClient, fleet: Fleet, **plan: Any) -> Any:
    """Bring version 1 to all, then version 2 to one, where the second one fails."""
    start(client, fleet, "1")
    fleet.obey()
    fleet.settle()
    rollout = start(client, fleet, "2", waves=[1, 2], **plan)
    fleet.obey(fleet.ids[0])
    fleet.settle()
    fleet.obey(fleet.ids[1], state="failed")
    fleet.settle()
    assert state(client, rollout) == "aborted"
    return rollout


def test_an_aborted_rollout_that_left_devices_is_rolled_back_on_them(client: TestClient, fleet: Fleet) -> None:
    rollout = aborted_after_one(client, fleet, on_abort="leave")
    assert [fleet.wanted(one) for one in fleet.ids] == [[("rollout", 2)], [("rollback", 1)], [("rollback", 1)]]
    answer = client.post(f"{URL}/{rollout['id']}/rollback")
    assert (answer.status_code, answer.json()["state"]) == (200, "rolling_back")
    assert fleet.wanted(fleet.ids[0]) == [("rollback", 1)]
    fleet.obey()
    fleet.settle()
    assert state(client, rollout) == "rolled_back"


def test_an_aborted_rollout_that_took_all_devices_back_has_nothing_to_roll_back(
    client: TestClient, fleet: Fleet
) -> None:
    rollout = aborted_after_one(client, fleet)
    assert [fleet.wanted(one) for one in fleet.ids] == [[("rollback", 1)]] * 3
    assert client.post(f"{URL}/{rollout['id']}/rollback").status_code == 409


def test_a_rollout_from_before_there_were_plans_is_started_again_with_its_waves_and_bounds(
    client: TestClient, fleet: Fleet, hub: HubContext
) -> None:
    first = start(client, fleet, "1", waves=[1, 2], max_failures=2, timeout_s=77)
    with hub.database.transaction() as session:
        session.get_one(Rollout, first["id"]).plan = {}
    client.post(f"{URL}/{first['id']}/abort").raise_for_status()
    fleet.settle()
    answer = client.post(f"{URL}/{first['id']}/forward")
    assert answer.status_code == 201, answer.text
    again = answer.json()
    assert (again["waves"], again["max_failures"], again["timeout_s"]) == ([1, 2], 2, 77)
    assert [one["device_id"] for one in again["deployments"] if one["wave"] == 0] == fleet.ids[:1]


def joined_late(hub: HubContext, rollout: Any) -> dict[str, int]:
    """Return the devices that are late joiners of a rollout, with their waves."""
    with hub.database.session() as session:
        wanted = select(Deployment.device_id, Deployment.wave).where(Deployment.rollout_id == rollout["id"])
        return dict(session.exec(wanted.where(Deployment.is_late_joiner)).all())


@pytest.mark.parametrize("revoked", [0, 3], ids=["with those that were drawn", "with those alone that joined late"])
def test_who_had_joined_late_does_so_again_when_a_rollout_is_started_again(
    client: TestClient, fleet: Fleet, hub: HubContext, revoked: int
) -> None:
    body = {"model": "digits", "version": "1", "waves": [1, 2], "late_joiners": "last_wave"}
    first = client.post(URL, json=body).json()
    with hub.database.transaction() as session:
        late = [add_device(session).id for _ in range(2)]
    reconcile_rollouts(hub.database, utc_now() + timedelta(seconds=LOOK_EVERY_S))
    assert joined_late(hub, first) == dict.fromkeys(late, 1)
    client.post(f"{URL}/{first['id']}/abort").raise_for_status()
    with hub.database.transaction() as session:
        for device_id in fleet.ids[:revoked]:
            session.get_one(Device, device_id).revoked_at = utc_now()
    again = client.post(f"{URL}/{first['id']}/forward").json()
    waves = {one["device_id"]: one["wave"] for one in again["deployments"]}
    if revoked:
        assert (again["waves"], waves.keys(), joined_late(hub, again)) == ([1, 1], set(late), {})
    else:
        drawn = {one["device_id"]: one["wave"] for one in first["deployments"]}
        assert (again["waves"], waves) == ([1, 4], drawn | dict.fromkeys(late, 1))
        assert joined_late(hub, again) == dict.fromkeys(late, 1)


def rolled_out_and_back_unheard(client: TestClient, fleet: Fleet, version: str) -> None:
    """Bring a version to all devices, and take it back before any of them has said that it went."""
    rollout = start(client, fleet, version)
    fleet.obey()
    fleet.settle()
    client.post(f"{URL}/{rollout['id']}/rollback").raise_for_status()
    fleet.settle()


@pytest.mark.parametrize("versions", ["1", "12"], ids=["none", "another one"])
def test_what_a_device_was_told_to_leave_is_nothing_to_come_back_to(
    client: TestClient, fleet: Fleet, versions: str
) -> None:
    for version in versions[:-1]:
        start(client, fleet, version)
        fleet.obey()
        fleet.settle()
    rolled_out_and_back_unheard(client, fleet, versions[-1])
    rolled_out_and_back_unheard(client, fleet, versions[-1])
    before = [("rollback", int(version)) for version in versions[:-1]]
    assert [fleet.wanted(one) for one in fleet.ids] == [before] * len(fleet.ids)


def test_a_device_that_could_not_go_back_comes_back_to_what_it_serves(
    client: TestClient, fleet: Fleet, hub: HubContext
) -> None:
    start(client, fleet, "1")
    fleet.obey()
    fleet.settle()
    rolled_out_and_back_unheard(client, fleet, "2")
    for device_id in fleet.ids:
        with hub.database.session() as session:
            (way_back,) = intents_of(session, device_id, "models/digits")
        slot = SlotReport(version=2, target=TARGET, sha256="0" * 64, state="good")
        stays = {"models/digits": section("failed", way_back.body["deployment"])}
        fleet.report(device_id, sections=stays, models={"digits": ModelReport(active=slot)})
    fleet.settle()
    rolled_out_and_back_unheard(client, fleet, "1")
    assert [fleet.wanted(one) for one in fleet.ids] == [[("rollback", 2)]] * len(fleet.ids)
