"""Back from a rollout that was aborted and left devices where they were; forward again from one that had no plan."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.rollouts.test_rollout_routes import URL, Fleet

from shoal_hub.context import HubContext
from shoal_hub.rollouts.tables import Rollout


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
