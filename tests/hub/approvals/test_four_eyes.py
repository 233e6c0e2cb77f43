"""Who counts: somebody else than who asked, each person once, and no way around that by making tokens."""

from typing import Any

import pytest
from alembic import command
from fastapi.testclient import TestClient
from tests.hub.approvals.calls import PLAN, URL, approve, ask_for, roll_out, rollouts, waits
from tests.hub.operators.conftest import Person

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.operators.roles import Role
from shoal_hub.operators.sessions import find_session, open_session
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.operators.tokens import find_token
from shoal_hub.operators.users import disable_user, find_user, set_role


def with_token(maker: TestClient, user: str, *scopes: str, role: Role = Role.OPERATOR) -> dict[str, str]:
    """Have `maker` make a token of `user`; return the header that shows it."""
    body = {"user": user, "role": role, "scopes": ["read", *scopes]}
    made = maker.post(f"{URL}/operator-tokens", json=body)
    assert made.status_code == 201, made.text
    return {"authorization": f"Bearer {made.json()['token']}"}


def is_refused_as_maker(answer: Any) -> bool:
    return answer.status_code == 403 and "had a part in making the token" in answer.json()["error"]["message"]


def test_the_author_does_not_count_through_whichever_token(
    hub: HubContext, admin: TestClient, author: TestClient, person: Person
) -> None:
    ask_for(admin, rollout=1)
    asked = waits(roll_out(author))
    for client in (author, person("olga", Role.APPROVER)):
        refused = approve(client, asked)
        assert refused.status_code == 403
        assert "is its author" in refused.json()["error"]["message"]
    assert rollouts(hub) == 0


def test_one_person_counts_once_through_whichever_token(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient, person: Person
) -> None:
    ask_for(admin, rollout=2)
    asked = waits(roll_out(author))
    assert approve(first, asked).status_code == 200
    assert approve(person("anna", Role.APPROVER), asked).status_code == 409
    assert rollouts(hub) == 0


def test_an_operator_does_not_approve(admin: TestClient, author: TestClient, person: Person) -> None:
    ask_for(admin, rollout=1)
    asked = waits(roll_out(author))
    assert approve(person("otto", Role.OPERATOR), asked).status_code == 403
    assert approve(person("vera", Role.VIEWER), asked).status_code == 403


@pytest.mark.parametrize("lost", ["disabled", "demoted"])
def test_who_may_approve_no_more_does_not_count(
    hub: HubContext, admin: TestClient, author: TestClient, first: TestClient, second: TestClient, lost: str
) -> None:
    ask_for(admin, rollout=2)
    asked = waits(roll_out(author))
    approve(first, asked)
    with hub.database.transaction() as session:
        if lost == "disabled":
            disable_user(session, find_user(session, "anna"), by="test", now=utc_now())
        else:
            set_role(session, find_user(session, "anna"), Role.OPERATOR, by="test")
    assert approve(second, asked).json()["state"] == "pending"
    assert approve(admin, asked).json()["state"] == "done"


def test_who_made_the_token_that_asked_is_no_second_pair_of_eyes(
    hub: HubContext, author: TestClient, first: TestClient, admin: TestClient
) -> None:
    """One admin with a token in another's name would otherwise ask and approve alone."""
    ask_for(admin, rollout=1)
    asked = waits(author.post(f"{URL}/rollouts", json=PLAN, headers=with_token(admin, "olga", "rollouts")))
    assert asked["author"] == "olga"
    assert is_refused_as_maker(approve(admin, asked))
    assert rollouts(hub) == 0
    assert approve(first, asked).json()["state"] == "done"


def test_a_chain_of_tokens_hides_none_of_its_makers(
    hub: HubContext, author: TestClient, first: TestClient, admin: TestClient, person: Person
) -> None:
    """Root makes one of Grace, which makes one of Grace, which makes one of Olga: any of the three may be who asks."""
    grace = person("grace", Role.ADMIN)
    ask_for(admin, rollout=1)
    link = with_token(admin, "grace", "admin", "rollouts", role=Role.ADMIN)
    for user in ("grace", "olga"):
        admin.headers.update(link)
        link = with_token(admin, user, "admin", "rollouts", role=Role.ADMIN)
    asked = waits(author.post(f"{URL}/rollouts", json=PLAN, headers=link))
    assert is_refused_as_maker(approve(person("root", Role.ADMIN), asked))
    assert is_refused_as_maker(approve(grace, asked))
    assert "is its author" in approve(author, asked).json()["error"]["message"]
    assert rollouts(hub) == 0
    assert approve(first, asked).json()["state"] == "done"


@pytest.mark.parametrize("links", [1, 2])
def test_no_token_approves_that_another_has_had_in_hands(
    hub: HubContext, admin: TestClient, person: Person, links: int
) -> None:
    """The asker makes a token of an approver, or by that one another, and would approve in the approver's name."""
    person("grace", Role.ADMIN)
    ask_for(admin, rollout=1)
    asked = waits(admin.post(f"{URL}/rollouts", json=PLAN))
    if links == 2:
        admin.headers.update(with_token(admin, "grace", "admin", role=Role.ADMIN))
    body = {"user": "grace", "role": "admin", "scopes": ["approvals"]}
    assert admin.post(f"{URL}/operator-tokens", json=body).status_code == 422
    shown = with_token(admin, "grace", "admin", role=Role.ADMIN)
    refused = admin.post(
        f"{URL}/approvals/{asked['id']}/approve", json={"content_sha256": asked["content_sha256"]}, headers=shown
    )
    assert refused.status_code == 403
    assert "no scope approvals" in refused.json()["error"]["message"]
    assert rollouts(hub) == 0


@pytest.mark.usefixtures("author")
def test_a_session_opened_by_a_token_counts_for_who_made_that_token(hub: HubContext, admin: TestClient) -> None:
    text = with_token(admin, "olga", "rollouts")["authorization"].removeprefix("Bearer ")
    now = utc_now()
    with hub.database.transaction() as session:
        shown, user = find_token(session, text, now)
        secret = open_session(session, hub.settings, user, shown, now, former=None)
    who = find_session(hub.database, hub.settings, secret, now, "192.0.2.1")
    root = admin.get(f"{URL}/operator").json()["id"]
    assert who.holders == {user.id, root}


def test_a_question_asked_by_a_token_is_asked_anew_in_person(author: TestClient, admin: TestClient) -> None:
    """Who made the token may then approve; the one that was asked by the token still waits for somebody else."""
    ask_for(admin, rollout=1)
    by_token = waits(author.post(f"{URL}/rollouts", json=PLAN, headers=with_token(admin, "olga", "rollouts")))
    in_person = waits(roll_out(author))
    assert in_person["id"] != by_token["id"]
    assert waits(roll_out(author))["id"] == in_person["id"]
    assert is_refused_as_maker(approve(admin, by_token))
    assert approve(admin, in_person).json()["state"] == "done"


def test_a_question_is_its_authors_though_the_same_people_may_be_behind_another(
    admin: TestClient, person: Person
) -> None:
    grace = person("grace", Role.ADMIN)
    ask_for(admin, rollout=1)
    as_grace, as_root = with_token(admin, "grace", "rollouts"), with_token(grace, "root", "rollouts")
    asked = [waits(admin.post(f"{URL}/rollouts", json=PLAN, headers=one)) for one in (as_grace, as_root)]
    assert [one["author"] for one in asked] == ["grace", "root"]
    assert asked[0]["id"] != asked[1]["id"]


def test_nobody_comes_back_as_another_person_under_a_name(
    hub: HubContext, author: TestClient, first: TestClient, admin: TestClient
) -> None:
    """A user is never deleted: the name stays theirs, and whoever is let in again is who they were."""
    ask_for(admin, rollout=1)
    asked = waits(author.post(f"{URL}/rollouts", json=PLAN, headers=with_token(admin, "olga", "rollouts")))
    assert first.delete(f"{URL}/users/olga").status_code == 405
    admin.patch(f"{URL}/users/olga", json={"is_disabled": True})
    assert admin.post(f"{URL}/users", json={"name": "olga", "role": "approver"}).status_code == 409
    admin.patch(f"{URL}/users/olga", json={"is_disabled": False})
    assert "is its author" in approve(author, asked).json()["error"]["message"]
    assert is_refused_as_maker(approve(admin, asked))
    assert rollouts(hub) == 0


@pytest.mark.usefixtures("author")
def test_tokens_from_before_were_held_by_their_users_and_makers(hub: HubContext, admin: TestClient) -> None:
    names = {one["name"]: one["id"] for one in admin.get(f"{URL}/users").json()}
    made = admin.post(f"{URL}/operator-tokens", json={"user": "olga", "role": "viewer"}).json()["id"]
    with hub.database._writer.begin() as connection:
        command.downgrade(hub.database.alembic_config(connection), "0014")
    hub.database.upgrade()
    with hub.database.session() as session:
        assert set(session.get_one(OperatorToken, made).holders) == {names["olga"], names["root"]}
