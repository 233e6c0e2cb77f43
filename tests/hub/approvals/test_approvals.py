"""Approvals on both engines: what exactly is approved, and that nothing goes around the policy."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.approvals.calls import URL, approve, ask_for, promote, roll_out, rollouts, stage_of, waits
from tests.hub.operators.conftest import Person

from shoal_hub.api import create_app
from shoal_hub.approvals.tables import ApprovalGrant, ApprovalRequest
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.operators.roles import Role
from shoal_hub.operators.users import disable_user, find_user, set_role
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.tables import VariantRow
from shoal_hub.rollouts.tables import Rollout


def test_without_a_policy_nobody_is_asked(author: TestClient) -> None:
    assert author.get(f"{URL}/models/digits/approval-policy").json() == {"production": 0, "rollout": 0}
    assert roll_out(author).status_code == 201
    assert promote(author).status_code == 200


def test_a_rollout_starts_with_the_last_approval(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient, second: TestClient
) -> None:
    ask_for(admin, rollout=2)
    asked = waits(roll_out(author, waves=[1]))
    assert (asked["state"], asked["needed"], asked["author"]) == ("pending", 2, "olga")
    assert asked["content"]["plan"]["waves"] == [1]
    assert rollouts(hub) == 0
    assert approve(first, asked, comment="looks good").json()["state"] == "pending"
    assert rollouts(hub) == 0
    done = approve(second, asked).json()
    assert done["state"] == "done"
    assert [one["name"] for one in done["approvals"]] == ["anna", "bert"]
    started = author.get(f"{URL}/rollouts").json()
    assert [(one["id"], one["created_by"]) for one in started] == [(done["outcome"].split()[1], "olga")]
    kinds = [one["kind"] for one in author.get(f"{URL}/events?subject=approval/{asked['id']}").json()]
    assert kinds == ["approval_asked", "approval_given", "approval_given"]


def test_a_version_becomes_production_with_the_approval(
    admin: TestClient, author: TestClient, first: TestClient
) -> None:
    ask_for(admin, production=1)
    assert promote(author, stage="staging").status_code == 200, "other stages need none"
    asked = waits(promote(author))
    assert stage_of(author) == "staging"
    assert approve(first, asked).json()["outcome"] == "moved to production"
    assert stage_of(author) == "production"
    history = author.get(f"{URL}/models/digits/versions/1/history").json()
    assert (history[-1]["by"], history[-1]["comment"]) == ("olga", "good")
    assert promote(author).status_code == 200, "it is there: nothing to approve"


def test_an_approval_is_of_one_content_and_moves_to_no_other_plan(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient
) -> None:
    ask_for(admin, rollout=1)
    small, large = waits(roll_out(author, waves=[1])), waits(roll_out(author, max_failures=1000))
    assert small["id"] != large["id"]
    refused = approve(first, large, content_sha256=small["content_sha256"])
    assert refused.status_code == 409
    assert "was looked at" in refused.json()["error"]["message"]
    assert approve(first, small).status_code == 200
    with hub.database.session() as session:
        assert [row.max_failures for row in session.exec(select(Rollout))] == [0]


def test_an_alias_that_moves_after_the_question_changes_nothing(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient
) -> None:
    ask_for(admin, rollout=1)
    alias = f"{URL}/models/digits/aliases/champion"
    assert author.put(alias, json={"number": 1}).status_code == 200
    asked = waits(roll_out(author, version="champion"))
    author.put(alias, json={"number": 2})
    assert approve(first, asked).status_code == 200
    with hub.database.session() as session:
        assert [row.version for row in session.exec(select(Rollout))] == [1]


def test_what_the_hub_asks_of_production_is_asked_again_when_it_is_approved(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient
) -> None:
    ask_for(admin, production=1)
    asked = waits(promote(author))
    strict = replace(hub, settings=hub.settings.model_copy(update={"require_fairness": True}))
    with TestClient(create_app(strict), headers=first.headers) as client:
        refused = approve(client, asked)
    assert (refused.status_code, "says nothing of fairness" in refused.text) == (409, True)
    assert stage_of(author) == "none"


@pytest.mark.parametrize("kind", ["variant", "policy"])
def test_what_has_changed_since_the_question_is_not_done(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient, kind: str
) -> None:
    ask_for(admin, production=1, rollout=1)
    asked = waits(promote(author) if kind == "policy" else roll_out(author))
    if kind == "policy":
        author.patch(f"{URL}/models/digits", json={"rollout_on_production": {"waves": []}})
    else:
        with hub.database.transaction() as session:
            row = session.exec(select(VariantRow)).first()
            assert row is not None
            row.sha256 = store_artifact(session, hub.artifacts, b"something else").sha256
            session.add(row)
    refused = approve(first, asked)
    assert refused.status_code == 409
    assert "have changed since" in refused.json()["error"]["message"]
    assert rollouts(hub) == 0
    assert stage_of(author) == "none"
    with hub.database.session() as session:
        assert session.exec(select(ApprovalGrant)).all() == [], "the approval is not kept either"


def test_production_with_a_rollout_needs_what_a_rollout_needs(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient, second: TestClient
) -> None:
    ask_for(admin, rollout=2)
    author.patch(f"{URL}/models/digits", json={"rollout_on_production": {"waves": []}})
    asked = waits(promote(author))
    assert asked["needed"] == 2
    assert approve(first, asked).json()["state"] == "pending"
    assert approve(second, asked).json()["outcome"].startswith("rollout r-")
    assert (rollouts(hub), stage_of(author)) == (1, "production")


def test_what_cannot_start_is_refused_before_anybody_is_asked(
    hub: HubContext, admin: TestClient, author: TestClient
) -> None:
    ask_for(admin, rollout=1, production=1)
    assert roll_out(author, version="9").status_code == 404
    assert roll_out(author, devices=["d-" + "z" * 16]).status_code == 404
    assert promote(author, number=9).status_code == 404
    with hub.database.session() as session:
        assert session.exec(select(ApprovalRequest)).all() == []
        assert session.exec(select(Rollout)).all() == [], "the trial is not kept"


def test_what_cannot_be_done_when_approved_says_so_and_can_be_approved_again(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient
) -> None:
    ask_for(admin, rollout=1)
    asked = waits(roll_out(author))
    ask_for(admin, rollout=0)
    running = roll_out(author, version="2").json()
    ask_for(admin, rollout=1)
    refused = approve(first, asked)
    assert refused.status_code == 409
    assert running["id"] in refused.json()["error"]["message"]
    author.post(f"{URL}/rollouts/{running['id']}/abort")
    assert approve(first, asked).json()["state"] == "done"
    assert rollouts(hub) == 2


def test_the_same_question_is_asked_once(admin: TestClient, author: TestClient, second: TestClient) -> None:
    ask_for(admin, rollout=1)
    asked = waits(roll_out(author))
    assert waits(roll_out(author))["id"] == asked["id"]
    assert waits(roll_out(second))["id"] != asked["id"], "another author's is another"
    assert len(author.get(f"{URL}/approvals").json()) == 2
    assert author.get(f"{URL}/approvals?model=fish").json() == []


def test_a_question_is_withdrawn_by_its_author_or_rejected_by_an_approver(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient, person: Person
) -> None:
    ask_for(admin, rollout=1)
    for who in (author, first):
        asked = waits(roll_out(author))
        url = f"{URL}/approvals/{asked['id']}/reject"
        assert person("otto", Role.OPERATOR).post(url, json={}).status_code == 403
        ended = who.post(url, json={"comment": "not today"}).json()
        assert ended["state"] == "rejected"
        assert "not today" in ended["outcome"]
        assert approve(first, asked).status_code == 409
    assert rollouts(hub) == 0


def test_a_question_expires(hub: HubContext, admin: TestClient, author: TestClient, first: TestClient) -> None:
    ask_for(admin, rollout=1)
    asked = waits(roll_out(author))
    with hub.database.transaction() as session:
        row = session.get_one(ApprovalRequest, asked["id"])
        row.expires_at = utc_now() - timedelta(seconds=1)
        session.add(row)
    assert author.get(f"{URL}/approvals/{asked['id']}").json()["state"] == "expired"
    assert approve(first, asked).status_code == 409
    assert waits(roll_out(author))["id"] != asked["id"]


@pytest.mark.parametrize("lost", ["disabled", "demoted"])
def test_nothing_is_done_for_an_author_who_may_not_do_it_any_more(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient, lost: str
) -> None:
    ask_for(admin, rollout=1)
    asked = waits(roll_out(author))
    with hub.database.transaction() as session:
        if lost == "disabled":
            disable_user(session, find_user(session, "olga"), by="test", now=utc_now())
        else:
            set_role(session, find_user(session, "olga"), Role.VIEWER, by="test")
    assert "no operator any more" in approve(first, asked).json()["error"]["message"]
    assert rollouts(hub) == 0


def test_a_policy_that_comes_to_ask_for_more_holds_for_what_waits(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient, second: TestClient
) -> None:
    ask_for(admin, rollout=1)
    asked = waits(roll_out(author))
    ask_for(admin, rollout=2)
    assert approve(first, asked).json()["state"] == "pending"
    ask_for(admin, rollout=0)
    assert approve(second, asked).json()["state"] == "done"
    assert rollouts(hub) == 1


@pytest.mark.parametrize("body", [{"rollout": 3}, {"production": -1}, {"rollout": None}, {"rollout": "many"}])
def test_a_policy_asks_for_two_at_most(admin: TestClient, body: dict[str, Any]) -> None:
    assert admin.put(f"{URL}/models/digits/approval-policy", json=body).status_code == 422


def test_what_is_not_there_is_not_found(admin: TestClient) -> None:
    assert admin.get(f"{URL}/models/fish/approval-policy").status_code == 404
    assert admin.put(f"{URL}/models/fish/approval-policy", json={}).status_code == 404
    assert admin.get(f"{URL}/approvals/ap-none").status_code == 404
    assert admin.post(f"{URL}/approvals/ap-none/reject", json={}).status_code == 404


@pytest.mark.parametrize("kind", ["rollout", "production"])
def test_a_policy_that_is_set_while_a_request_is_under_way_binds_it(
    author: TestClient, admin: TestClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It was read as asking nobody, before the request began to write."""
    module = "rollouts.routes" if kind == "rollout" else "registry.lifecycle_routes"
    monkeypatch.setattr(f"shoal_hub.{module}.approvals_needed", lambda *_: 0)
    ask_for(admin, **{kind: 1})
    answer = roll_out(author) if kind == "rollout" else promote(author)
    assert answer.status_code == 409
    assert "asks for approvals" in answer.json()["error"]["message"]
