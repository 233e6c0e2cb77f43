"""Automation at the API: policies, their history, dry runs, and who may do what."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.automation.loops import MODEL, Loop
from tests.hub.automation.policies import LEARN, TELL
from tests.hub.automation.policies import body as policy_body

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.operators.roles import Role, Scope
from shoal_hub.operators.tokens import create_token
from shoal_hub.operators.users import create_user

URL = "/api/v1/automation"


def body(**changes: Any) -> dict[str, Any]:
    return policy_body(**({"model": MODEL} | changes))


@pytest.fixture
def at_api(client: TestClient, hub: HubContext, tmp_path: Path) -> tuple[TestClient, Loop]:
    return client, Loop(hub, tmp_path)


def put(client: TestClient, **changes: Any) -> Any:
    answer = client.put(f"{URL}/policies/learn", json=body(**changes))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_policy_is_set_changed_by_revisions_switched_and_forgotten(at_api: tuple[TestClient, Loop]) -> None:
    client, _ = at_api
    assert put(client)["revision"] == 1
    assert put(client)["revision"] == 1, "as it was"
    assert put(client, then=[TELL])["revision"] == 2
    assert client.post(f"{URL}/policies/learn/disable").json()["is_enabled"] is False
    assert client.post(f"{URL}/policies/learn/enable").json()["is_enabled"] is True
    assert [one["name"] for one in client.get(f"{URL}/policies").json()] == ["learn"]
    assert client.delete(f"{URL}/policies/learn").json()["revision"] == 2
    assert client.get(f"{URL}/policies/learn").status_code == 404
    assert put(client, then=[TELL])["revision"] == 3, "numbers are not used again"


def test_a_run_is_shown_with_its_story_and_how_its_step_stands(at_api: tuple[TestClient, Loop]) -> None:
    client, loop = at_api
    put(client, then=[{"kind": "capture", "for_s": 120}, TELL])
    signal = loop.drift(loop.devices[2])
    loop.step()
    [run] = client.get(f"{URL}/runs").json()
    assert (run["state"], run["step"], run["champion"]) == ("running", "capture", 1)
    shown = client.get(f"{URL}/runs/{run['id']}").json()
    assert [one["state"] for one in shown["steps"]] == ["working", "pending"]
    assert shown["steps"][0]["now"] == "0 samples came, 0 of them with a true label"
    assert shown["trigger"]["conditions"][0]["facts"]["signals"] == [signal]
    loop.step(120)
    shown = client.get(f"{URL}/runs/{run['id']}").json()
    assert shown["state"] == "succeeded"
    texts = [line["text"] for line in shown["story"]]
    assert loop.devices[2] in texts[0]
    assert texts[-1] == "The run succeeded: every step is done."
    assert any(text.startswith("It began to ask devices for samples, because more data is wanted") for text in texts)
    policy = client.get(f"{URL}/policies/learn").json()
    assert [one["outcome"] for one in policy["decisions"]] == ["held_back", "fired"]
    assert [one["id"] for one in policy["runs"]] == [run["id"]]
    assert client.get(f"{URL}/runs", params={"state": "failed"}).json() == []


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"model": "unknown"}, 404, "no model unknown"),
        ({"name": "other"}, 422, "the body names other"),
        ({"then": [{"kind": "roll_out"}]}, 422, "roll_out has no candidate"),
        ({"when": {"kind": "drift", "min_device": 2}}, 422, "min_device"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    at_api: tuple[TestClient, Loop], change: dict[str, Any], status: int, told: str
) -> None:
    client, _ = at_api
    answer = client.put(f"{URL}/policies/learn", json=body(**change))
    assert answer.status_code == status
    assert told in answer.text


def test_a_policy_with_a_run_can_not_be_forgotten(at_api: tuple[TestClient, Loop]) -> None:
    client, loop = at_api
    put(client, then=[{"kind": "capture"}])
    loop.drift()
    loop.step()
    assert client.delete(f"{URL}/policies/learn").status_code == 409
    [run] = client.get(f"{URL}/runs").json()
    assert client.post(f"{URL}/runs/{run['id']}/stop").json()["state"] == "stopped"
    assert client.post(f"{URL}/runs/{run['id']}/stop").status_code == 409
    assert client.post(f"{URL}/runs/{run['id']}/retry").status_code == 409
    assert client.delete(f"{URL}/policies/learn").status_code == 200


@pytest.fixture
def scoped(sqlite_hub: HubContext) -> Callable[..., TestClient]:
    def make(*scopes: Scope) -> TestClient:
        with sqlite_hub.database.transaction() as session:
            name = f"of-{'-'.join(scopes)}"
            user = create_user(session, name, Role.OPERATOR, password=None, by="test", now=utc_now())
            made = create_token(
                session, user, label="", role=Role.OPERATOR, scopes=set(scopes), life=None, by=None, now=utc_now()
            )
        return TestClient(create_app(sqlite_hub), headers={"authorization": f"Bearer {made.text}"})

    return make


def test_a_token_needs_what_the_steps_would_need_by_hand(sqlite_loop: Loop, scoped: Callable[..., TestClient]) -> None:
    plain, samples = body(then=[TELL]), body(then=[{"kind": "capture"}])
    deploys = body(then=[*LEARN, {"kind": "roll_out"}])
    only_rollouts = scoped(Scope.ROLLOUTS)
    assert only_rollouts.put(f"{URL}/policies/learn", json=plain).status_code == 200
    assert only_rollouts.put(f"{URL}/policies/learn", json=samples).status_code == 403
    assert only_rollouts.put(f"{URL}/policies/learn", json=deploys).status_code == 403
    assert scoped(Scope.ROLLOUTS, Scope.DEVICES).put(f"{URL}/policies/learn", json=samples).status_code == 200
    assert scoped(Scope.ROLLOUTS, Scope.MODELS).put(f"{URL}/policies/learn", json=deploys).status_code == 200
    assert sqlite_loop.policy_row().set_by == "of-rollouts-models"


def test_a_dry_run_changes_nothing_and_needs_no_policy_that_is_set(at_api: tuple[TestClient, Loop]) -> None:
    client, loop = at_api
    until = loop.now
    asked = {
        "policy": body(when={"kind": "schedule", "every_s": 3600}, then=[TELL]),
        "since": (until - timedelta(hours=6)).isoformat(),
        "until": until.isoformat(),
        "every_s": 600,
    }
    found = client.post(f"{URL}/dry-run", json=asked).json()
    assert (found["looks"], len(found["fired"])) == (37, 2), "two runs a week"
    assert [one["guards"] for one in found["held_back"]] == [["budget"]]
    assert (client.get(f"{URL}/policies").json(), client.get(f"{URL}/runs").json()) == ([], [])
    too_long = asked | {"since": (until - timedelta(days=365)).isoformat(), "every_s": 60}
    assert client.post(f"{URL}/dry-run", json=too_long).status_code == 422
