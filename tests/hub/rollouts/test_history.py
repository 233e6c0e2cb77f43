"""The history of a rollout, and who joins it late, on both engines."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.rollouts.test_plan_routes import start
from tests.hub.rollouts.test_rollout_routes import URL, Fleet
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import add_device

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.rollouts.joiners import LOOK_EVERY_S


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    return Fleet(hub, 2)


def history(client: TestClient, rollout: Any, **params: int) -> list[Any]:
    answer = client.get(f"{URL}/{rollout['id']}/history", params=params)
    assert answer.status_code == 200
    return list(answer.json())


def test_the_history_has_what_people_did_and_what_came_of_it_in_order(client: TestClient, fleet: Fleet) -> None:
    rollout = start(client, devices=fleet.ids, waves=[1, 1])
    fleet.settle()
    fleet.obey()
    fleet.settle()
    client.post(f"{URL}/{rollout['id']}/pause")
    client.post(f"{URL}/{rollout['id']}/abort")
    told = history(client, rollout)
    whats = [one["what"] for one in told]
    for earlier, later in [
        ("rollouts.create_rollout", "deployment_succeeded"),
        ("deployment_succeeded", "wave_started"),
        ("wave_started", "rollouts.pause_rollout"),
        ("rollouts.pause_rollout", "rollouts.abort_rollout"),
    ]:
        assert whats.index(earlier) < whats.index(later), whats
    assert [one["at"] for one in told] == sorted(one["at"] for one in told)
    paused = told[whats.index("rollouts.pause_rollout")]
    assert paused["by"] == "ada"
    assert paused["before"][f"rollouts/{rollout['id']}"]["state"] == "running"
    assert told[whats.index("deployment_succeeded")]["by"] == fleet.ids[0]
    assert history(client, rollout, limit=2) == told[-2:]


def test_an_unknown_rollout_has_no_history(client: TestClient) -> None:
    assert client.get(f"{URL}/r-none/history").status_code == 404


@pytest.mark.parametrize(("policy", "devices"), [("last_wave", 3), ("ignore", 2)])
def test_who_is_enrolled_meanwhile_joins_the_last_wave_only_if_the_plan_says_so(
    client: TestClient, hub: HubContext, fleet: Fleet, policy: str, devices: int
) -> None:
    rollout = start(client, waves=[1, 1], late_joiners=policy)
    with hub.database.transaction() as session:
        late = add_device(session).id
    fleet.settle()
    counted = client.get(f"{URL}/{rollout['id']}").json()
    assert counted["waves"] == [1, 1] if policy == "ignore" else [1, 2]
    reconcile_rollouts(hub.database, utc_now() + timedelta(seconds=LOOK_EVERY_S))
    counted = client.get(f"{URL}/{rollout['id']}").json()
    waves = {one["device_id"]: one["wave"] for one in counted["deployments"]}
    assert (sum(counted["counts"].values()), sum(counted["waves"])) == (devices, devices)
    assert waves.get(late) == (1 if policy == "last_wave" else None)


def test_a_group_or_a_query_stands_for_the_devices_that_are_in_it(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    with hub.database.transaction() as session:
        session.get_one(Device, fleet.ids[0]).tags = {"site": "paris"}
    made = client.post("/api/v1/groups", json={"name": "paris", "query": "tags.site = paris"})
    assert made.status_code == 201, made.text
    for chosen in ({"group": "paris"}, {"query": "tags.site = paris"}):
        rollout = start(client, **chosen)
        assert [one["device_id"] for one in rollout["deployments"]] == fleet.ids[:1]
        client.post(f"{URL}/{rollout['id']}/abort")
    body = {"model": "digits", "version": "1"}
    assert client.post(URL, json=body | {"group": "nowhere"}).status_code == 404
    assert client.post(URL, json=body | {"query": "tags.site ="}).status_code == 422
    both = client.post(URL, json=body | {"group": "paris", "query": "id = x"})
    assert "exclude each other" in both.text


def test_who_comes_to_match_joins_and_a_group_that_is_gone_is_told_and_ends_nothing(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    with hub.database.transaction() as session:
        session.get_one(Device, fleet.ids[0]).tags = {"site": "paris"}
    client.post("/api/v1/groups", json={"name": "paris", "query": "tags.site = paris"})
    rollout = start(client, group="paris", late_joiners="last_wave")
    with hub.database.transaction() as session:
        session.get_one(Device, fleet.ids[1]).tags = {"site": "paris"}
    fleet.settle()
    shown = client.get(f"{URL}/{rollout['id']}").json()
    assert {one["device_id"] for one in shown["deployments"]} == set(fleet.ids)
    assert client.delete("/api/v1/groups/paris").status_code < 300
    for looks in (2, 4, 6):
        fleet.settle(seconds=looks * LOOK_EVERY_S)
    assert sum("nobody joins" in one["message"] for one in history(client, rollout)) == 1
    assert client.get(f"{URL}/{rollout['id']}").json()["state"] == "running"


@pytest.mark.parametrize("waves", [[2], [1, 1]])
def test_devices_that_keep_coming_hold_the_end_of_a_rollout_for_no_longer_than_two_have_time(
    client: TestClient, hub: HubContext, fleet: Fleet, waves: list[int]
) -> None:
    """Each of them is off once it was enrolled, and would keep the last wave open for all of its time."""
    began_at, minutes = utc_now(), 5
    plan = {"waves": waves, "late_joiners": "last_wave", "timeout_s": 60 * minutes, "max_failures": 100}
    rollout = start(client, **plan)
    fleet.settle()
    ended_after = None
    for minute in range(1, 4 * minutes):
        with hub.database.transaction() as session:
            add_device(session)
        for _ in waves:
            fleet.obey()
            while reconcile_rollouts(hub.database, began_at + timedelta(minutes=minute)):
                pass
        if client.get(f"{URL}/{rollout['id']}").json()["state"] == "succeeded":
            ended_after = minute
            break
    assert ended_after is not None
    assert ended_after <= 2 * minutes + 1 + len(waves)
    shown = client.get(f"{URL}/{rollout['id']}").json()
    joined = sum(shown["waves"]) - 2
    assert minutes <= joined <= minutes + 1 + len(waves)
    assert shown["counts"] == {"succeeded": 2, "timed_out": joined}
    assert shown["reason"] == f"{joined} devices failed"
