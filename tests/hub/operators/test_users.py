"""Users and their tokens through the API, on both engines."""

import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlmodel import select
from tests.hub.operators.conftest import Person

from shoal_client.profile import Profile, read_profile, write_profile
from shoal_hub.addresses import Addresses
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.operators.roles import Role, Scope
from shoal_hub.operators.tables import OperatorToken, User
from shoal_hub.operators.tokens import create_operator_token, identify
from shoal_hub.supervise.operator import ensure_operator

URL = "/api/v1"
PASSWORD = "correct horse battery"
ADDRESSES = Addresses(
    api_url="https://hub.test:8443",
    api_port=8443,
    broker_host="hub.test",
    broker_port=8883,
    hub_listener_host="127.0.0.1",
    hub_listener_port=1883,
)


@pytest.fixture
def admin(person: Person) -> TestClient:
    return person("root", Role.ADMIN)


def make_user(admin: TestClient, name: str = "grace", role: str = "operator", **more: Any) -> Any:
    answer = admin.post(f"{URL}/users", json={"name": name, "role": role} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def make_token(admin: TestClient, user: str = "grace", **more: Any) -> Any:
    answer = admin.post(f"{URL}/operator-tokens", json={"user": user, "role": "admin"} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_roles_are_in_one_order() -> None:
    assert [role.rank for role in (Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN)] == [0, 1, 2, 3]
    for one in Role:
        for other in Role:
            assert one.includes(other) == (one.rank >= other.rank)
            assert Role.lesser(one, other).rank == min(one.rank, other.rank)


def test_a_user_is_made_listed_given_a_role_and_disabled(admin: TestClient) -> None:
    made = make_user(admin, password=PASSWORD)
    assert (made["name"], made["role"], made["comes_by"], made["disabled_at"]) == (
        "grace",
        "operator",
        "password",
        None,
    )
    assert [one["name"] for one in admin.get(f"{URL}/users").json()] == ["grace", "root"]
    changed = admin.patch(f"{URL}/users/grace", json={"role": "approver"}).json()
    assert changed["role"] == "approver"
    assert admin.patch(f"{URL}/users/grace", json={"is_disabled": True}).json()["disabled_at"] is not None
    assert admin.patch(f"{URL}/users/grace", json={"is_disabled": False}).json()["disabled_at"] is None
    kinds = [one["kind"] for one in admin.get(f"{URL}/events").json()]
    assert kinds[-4:] == ["user_created", "user_role", "user_disabled", "user_enabled"]


def test_the_first_start_makes_an_admin_whose_token_is_in_the_profile_and_nowhere_in_the_data_folder(
    hub: HubContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOAL_PROFILE", str(tmp_path / "profile.json"))
    (tmp_path / "data").mkdir(exist_ok=True)
    for _start in range(2):
        path = ensure_operator(hub.settings, ADDRESSES)
    assert path == tmp_path / "profile.json"
    caller = identify(hub.database, read_profile(path).token.get_secret_value(), "127.0.0.1")
    assert (caller.name, caller.role, caller.scopes) == ("admin", Role.ADMIN, frozenset(Scope))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = read_profile(path).token.get_secret_value().encode()
    files = [one for one in (tmp_path / "data").rglob("*") if one.is_file()]
    assert [one for one in files if token in one.read_bytes()] == []
    with hub.database.session() as session:
        assert len(session.exec(select(OperatorToken)).all()) == 1


def test_a_profile_of_another_hub_is_left_alone_until_it_is_gone(
    hub: HubContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOAL_PROFILE", str(tmp_path / "profile.json"))
    other = Profile(url="https://other.test", token=SecretStr("shoal_other"), ca_path=tmp_path / "other.pem")
    write_profile(other, tmp_path / "profile.json")
    (tmp_path / "data").mkdir(exist_ok=True)
    kept = tmp_path / "data" / "operator.json"
    for _start in range(2):
        assert ensure_operator(hub.settings, ADDRESSES) == kept
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert read_profile(tmp_path / "profile.json") == other
    token = read_profile(kept).token.get_secret_value()
    (tmp_path / "profile.json").unlink()
    assert ensure_operator(hub.settings, ADDRESSES) == tmp_path / "profile.json"
    assert read_profile(tmp_path / "profile.json").token.get_secret_value() == token
    assert not kept.exists(), "no second copy"


def test_a_start_keeps_the_token_that_somebody_has_logged_in_with(
    hub: HubContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOAL_PROFILE", str(tmp_path / "profile.json"))
    ensure_operator(hub.settings, ADDRESSES)
    first = read_profile(tmp_path / "profile.json")
    write_profile(first.model_copy(update={"token": SecretStr("shoal_own")}), tmp_path / "profile.json")
    ensure_operator(hub.settings, ADDRESSES)
    assert read_profile(tmp_path / "profile.json").token.get_secret_value() == "shoal_own"


def test_no_two_users_have_one_name(admin: TestClient) -> None:
    make_user(admin)
    assert admin.post(f"{URL}/users", json={"name": "grace", "role": "admin"}).status_code == 409


@pytest.mark.parametrize("name", ["", "Grace", "a b", "a\r\nset-cookie: x=1", "../x", "a" * 65, "gr\u0430ce", "a\x00"])
def test_a_name_is_plain(admin: TestClient, name: str) -> None:
    assert admin.post(f"{URL}/users", json={"name": name, "role": "viewer"}).status_code == 422


@pytest.mark.parametrize("password", ["", "short", "a" * 257])
def test_a_password_has_a_sensible_length_and_is_not_repeated_in_the_answer(admin: TestClient, password: str) -> None:
    answer = admin.post(f"{URL}/users", json={"name": "grace", "role": "viewer", "password": password})
    assert answer.status_code == 422
    assert not password or password not in answer.text


def test_no_answer_shows_a_password_or_its_hash(admin: TestClient) -> None:
    make_user(admin, password=PASSWORD)
    texts = [
        admin.get(f"{URL}/users").text,
        admin.put(f"{URL}/users/grace/password", json={"password": PASSWORD}).text,
        admin.get(f"{URL}/events").text,
    ]
    assert all(PASSWORD not in text and "argon2" not in text for text in texts)


def test_the_last_admin_stays_one(admin: TestClient) -> None:
    assert admin.patch(f"{URL}/users/root", json={"role": "viewer"}).status_code == 409
    assert admin.patch(f"{URL}/users/root", json={"is_disabled": True}).status_code == 409
    make_user(admin, "ada", "admin")
    assert admin.patch(f"{URL}/users/root", json={"role": "viewer"}).status_code == 200
    assert admin.get(f"{URL}/users").status_code == 200, "a viewer still looks"
    assert admin.post(f"{URL}/users", json={"name": "x", "role": "admin"}).status_code == 403, "at once"


def test_a_token_is_shown_once_kept_as_a_hash_and_withdrawn(admin: TestClient, hub: HubContext, person: Person) -> None:
    make_user(admin)
    made = make_token(admin, scopes=["read", "devices"], label="ci", expires_in_s=3600)
    with hub.database.session() as session:
        row = session.exec(select(OperatorToken).where(OperatorToken.id == made["id"])).one()
    assert made["token"] not in row.model_dump_json()
    assert made["token"] not in admin.get(f"{URL}/operator-tokens").text
    assert made["created_by"] == "root"
    headers = {"Authorization": f"Bearer {made['token']}"}
    me = admin.get(f"{URL}/operator", headers=headers).json()
    assert (me["name"], me["role"], me["scopes"]) == ("grace", "operator", ["devices", "read"])
    listed = {one["id"]: one for one in admin.get(f"{URL}/operator-tokens").json()}
    assert listed[made["id"]]["last_used_at"] is not None
    assert admin.delete(f"{URL}/operator-tokens/{made['id']}").json()["revoked_at"] is not None
    assert admin.get(f"{URL}/operator", headers=headers).status_code == 401
    assert person("vera", Role.VIEWER).get(f"{URL}/operator-tokens").json()[0]["user"] == "vera"
    assert admin.delete(f"{URL}/operator-tokens/op-none").status_code == 404


@pytest.mark.parametrize("end", ["expired", "disabled"])
def test_a_token_ends_with_its_time_and_with_its_user(admin: TestClient, hub: HubContext, end: str) -> None:
    make_user(admin)
    headers = {"Authorization": f"Bearer {make_token(admin)['token']}"}
    assert admin.get(f"{URL}/operator", headers=headers).status_code == 200
    with hub.database.transaction() as session:
        user = session.exec(select(User).where(User.name == "grace")).one()
        row = session.exec(select(OperatorToken).where(OperatorToken.user_id == user.id)).one()
        if end == "expired":
            row.expires_at = utc_now() - timedelta(seconds=1)
        else:
            user.disabled_at = utc_now()
        session.add_all([row, user])
    assert admin.get(f"{URL}/operator", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "body", [{"expires_in_s": 0}, {"expires_in_s": 10**9}, {"scopes": []}, {"scopes": ["all"]}, {"role": "god"}]
)
def test_a_token_without_end_or_sense_is_not_made(admin: TestClient, body: dict[str, Any]) -> None:
    make_user(admin)
    wanted = {"user": "grace", "role": "viewer"} | body
    assert admin.post(f"{URL}/operator-tokens", json=wanted).status_code == 422


def test_a_lesser_token_of_an_admin_makes_none_that_may_more(admin: TestClient) -> None:
    make_user(admin, "ada", "admin")
    lesser = make_token(admin, "ada", scopes=["read", "admin"])
    headers = {"Authorization": f"Bearer {lesser['token']}"}
    wanted = {"user": "ada", "role": "admin", "scopes": ["read", "models"]}
    assert admin.post(f"{URL}/operator-tokens", json=wanted, headers=headers).json()["scopes"] == ["read"]


def test_an_admin_makes_no_token_to_approve_in_anothers_name(admin: TestClient) -> None:
    make_user(admin)
    wanted = {"user": "grace", "role": "approver", "scopes": ["approvals"]}
    refused = admin.post(f"{URL}/operator-tokens", json=wanted)
    assert refused.status_code == 422
    assert "could approve in their name" in refused.json()["error"]["message"]


def test_the_hubs_own_token_is_the_only_one_without_end(hub: HubContext, admin: TestClient) -> None:
    with hub.database.transaction() as session:
        create_operator_token(session, "root")
    make_user(admin)
    assert make_token(admin)["expires_at"] is not None
    ends = [one["expires_at"] is None for one in admin.get(f"{URL}/operator-tokens").json() if one["user"] == "root"]
    assert ends == [True, True]
    assert {Scope(scope) for scope in admin.get(f"{URL}/operator").json()["scopes"]} == set(Scope)
