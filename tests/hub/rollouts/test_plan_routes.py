"""Plans through the API, on both engines: waves, soak, approval by person and policy, thresholds, forward again."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.operators.conftest import Person, people_at
from tests.hub.rollouts.test_rollout_routes import URL, Fleet

from shoal_hub.context import HubContext
from shoal_hub.operators.roles import Role
from shoal_hub.rollouts.tables import Deployment


@pytest.fixture
def person(hub: HubContext) -> Iterator[Person]:
    yield from people_at(hub)


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    return Fleet(hub, 4)


def start(client: TestClient, **plan: Any) -> Any:
    answer = client.post(URL, json={"model": "digits", "version": "1"} | plan)
    assert answer.status_code == 201, answer.text
    return answer.json()


def shown(client: TestClient, rollout: Any) -> Any:
    return client.get(f"{URL}/{rollout['id']}").json()


def test_a_wave_waits_for_its_approval_which_is_given_once_and_only_when_it_waits(
    client: TestClient, fleet: Fleet
) -> None:
    rollout = start(client, waves=[1, 3], wave_approval=True, devices=fleet.ids)
    approve = f"{URL}/{rollout['id']}/approve"
    fleet.settle()
    assert client.post(approve).status_code == 409, "the first wave has not ended"
    fleet.obey()
    fleet.settle()
    assert (shown(client, rollout)["current_wave"], shown(client, rollout)["waits_for"]) == (0, "approval")
    assert client.post(approve).status_code == 200
    assert client.post(approve).status_code == 409
    fleet.settle()
    assert shown(client, rollout)["wave_counts"] == [{"succeeded": 1}, {"assigned": 3}]


def test_where_the_models_policy_asks_for_other_people_a_wave_waits_for_them(
    client: TestClient, fleet: Fleet, person: Person
) -> None:
    rollout = start(client, waves=[1, 3], wave_approval=True, devices=fleet.ids)
    client.put("/api/v1/models/digits/approval-policy", json={"rollout": 1})
    fleet.settle()
    fleet.obey()
    fleet.settle()
    asked = client.post(f"{URL}/{rollout['id']}/approve")
    assert asked.status_code == 202
    assert asked.json()["content"]["plan"] == {"model": "digits", "version": 1, "rollout": rollout["id"], "wave": 1}
    body = {"content_sha256": asked.json()["content_sha256"]}
    approval = f"/api/v1/approvals/{asked.json()['id']}/approve"
    assert client.post(approval, json=body).status_code == 403, "its author does not approve it"
    fleet.settle()
    assert shown(client, rollout)["current_wave"] == 0
    assert person("anna", Role.APPROVER).post(approval, json=body).json()["outcome"].startswith("wave 2 of")
    fleet.settle()
    assert shown(client, rollout)["current_wave"] == 1


def test_a_rollout_that_was_taken_back_is_started_again_by_the_same_plan(client: TestClient, fleet: Fleet) -> None:
    first = start(client, waves=["25%", "100%"], holdback_percent=25, seed=7, soak_s=0, max_in_flight=2)
    forward = f"{URL}/{first['id']}/forward"
    assert client.post(forward).status_code == 409, "it was not taken back"
    client.post(f"{URL}/{first['id']}/abort")
    fleet.settle()
    again = client.post(forward).json()
    assert again["id"] != first["id"]
    for name in ("model", "version", "waves", "seed"):
        assert again[name] == first[name]
    assert again["plan"]["max_in_flight"] == 2
    of = [{one["device_id"]: one["wave"] for one in rollout["deployments"]} for rollout in (first, again)]
    assert of[0] == of[1]


def test_those_held_back_are_chosen_by_the_seed_and_stay_as_they_are_to_the_end(
    client: TestClient, fleet: Fleet, hub: HubContext
) -> None:
    rollout = start(client, holdback_percent=50, seed=1)
    fleet.settle()
    fleet.obey()
    fleet.settle()
    assert shown(client, rollout)["state"] == "succeeded"
    assert shown(client, rollout)["counts"] == {"succeeded": 2, "held_back": 2}
    with hub.database.session() as session:
        held_back = session.exec(select(Deployment.device_id).where(Deployment.state == "held_back")).all()
    assert all(fleet.wanted(device_id) == [] for device_id in held_back)
    client.post(f"{URL}/{rollout['id']}/rollback")
    fleet.settle()
    assert all(fleet.wanted(device_id) == [] for device_id in held_back)


def test_thresholds_are_shown_with_how_far_they_are(client: TestClient, fleet: Fleet) -> None:
    rollout = start(client, thresholds=[{"percent": 50, "min_executed": 2, "causes": ["other"], "action": "pause"}])
    fleet.settle()
    fleet.obey(*fleet.ids[:1], state="failed")
    fleet.settle()
    (threshold,) = shown(client, rollout)["thresholds"]
    assert threshold["description"] == "pause at 50% failures of other once 2 have ended"
    assert (threshold["failures"], threshold["executed"], threshold["is_crossed"]) == (1, 1, False)
    fleet.obey(*fleet.ids[1:2], state="failed")
    fleet.settle()
    assert (shown(client, rollout)["state"], shown(client, rollout)["thresholds"][0]["is_crossed"]) == ("paused", True)


@pytest.mark.usefixtures("fleet")
def test_the_answer_holds_as_many_deployments_as_are_asked_for_and_counts_all(client: TestClient) -> None:
    rollout = start(client)
    some = client.get(f"{URL}/{rollout['id']}", params={"limit": 1}).json()
    assert (len(some["deployments"]), some["counts"]) == (1, {"pending": 4})


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"waves": [1], "rate": {"first": 1, "factor": 2}}, "exclude each other"),
        ({"waves": [1, "5%"]}, "waves"),
        ({"waves": ["50%", "20%"]}, "shares have to rise"),
        ({"thresholds": [{"count": 1, "percent": 2}]}, "either a count or a percent"),
        ({"thresholds": [{"count": 1, "causes": ["bad luck"]}]}, "causes"),
        ({"holdback_percent": 1}, "none to hold back"),
        ({"soak_s": -1}, "soak_s"),
        ({"policy": {"fetch_in_window": True}}, "fetch_in_window"),
        ({"devices": ["d-aaaaaaaaaaaaaaaa"], "late_joiners": "last_wave"}, "late joiners"),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_a_plan_that_makes_no_sense_is_refused(client: TestClient, plan: dict[str, Any], text: str) -> None:
    answer = client.post(URL, json={"model": "digits", "version": "1"} | plan)
    assert answer.status_code == 422, answer.text
    assert text in answer.text
