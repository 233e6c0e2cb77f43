"""The way back in from the hub's machine: for its account alone, for minutes, and never unnoticed."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.audit.trail import read
from tests.hub.operators.conftest import Person, people_at
from tests.simulators.hub_process import HubProcess

from shoal_client import ShoalClient
from shoal_client.profile import read_profile
from shoal_hub.addresses import Addresses, NotRunningError
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.doctor.check import Patient
from shoal_hub.doctor.machine import first_token
from shoal_hub.errors import ConflictError, DatabaseError, InvalidInputError, RefusedError
from shoal_hub.events.tables import EventRow
from shoal_hub.operators.roles import ALL_SCOPES, Role, Scope
from shoal_hub.operators.tables import User
from shoal_hub.operators.tokens import identify
from shoal_hub.operators.users import disable_user, find_user
from shoal_hub.supervise.recover import recover_admin

ADDRESSES = Addresses(
    api_url="https://hub.test:8443",
    api_port=8443,
    broker_host="hub.test",
    broker_port=8883,
    hub_listener_host="127.0.0.1",
    hub_listener_port=8884,
)


@pytest.fixture
def person(hub: HubContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Person]:
    """People at the API of a hub that was started once."""
    monkeypatch.setenv("SHOAL_PROFILE", str(tmp_path / "config" / "profile.json"))
    ADDRESSES.write(hub.settings)
    yield from people_at(hub)


def token_in(path: Path) -> str:
    return read_profile(path).token.get_secret_value()


@pytest.mark.parametrize("name", ["root", "grace"])
def test_an_admin_who_is_known_or_new_comes_in_for_minutes_by_a_file_of_their_own(
    hub: HubContext, person: Person, tmp_path: Path, name: str
) -> None:
    person("root", Role.ADMIN)
    now = utc_now()
    path, expires_at = recover_admin(hub.settings, name, now)
    assert path == tmp_path / "config" / "recovery.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert expires_at == now + timedelta(minutes=15)
    caller = identify(hub.database, token_in(path), "127.0.0.1")
    assert (caller.name, caller.role, caller.scopes) == (name, Role.ADMIN, ALL_SCOPES - {Scope.APPROVALS})
    with hub.database.session() as session:
        assert [one.name for one in session.exec(select(User).where(User.role == Role.ADMIN))].count(name) == 1


def test_it_ends_by_itself_and_with_the_next_one(
    hub: HubContext, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    anybody = person("root", Role.ADMIN)

    def status(token: str) -> int:
        return anybody.get("/api/v1/users", headers={"authorization": f"Bearer {token}"}).status_code

    first = token_in(recover_admin(hub.settings, "root", utc_now()).path)
    assert status(first) == 200
    second = token_in(recover_admin(hub.settings, "root", utc_now()).path)
    assert (status(first), status(second)) == (401, 200)
    late = utc_now() + timedelta(seconds=hub.settings.recovery_life_s)
    monkeypatch.setattr("shoal_hub.operators.tokens.utc_now", lambda: late)
    assert status(second) == 401


def test_everybody_is_told_and_the_trail_has_it_without_the_secret(hub: HubContext, person: Person) -> None:
    viewer = person("vera", Role.VIEWER)
    path = recover_admin(hub.settings, "grace", utc_now()).path
    told = [one for one in viewer.get("/api/v1/events").json() if one["kind"] == "admin_recovered"]
    assert [(one["severity"], one["subject"]) for one in told] == [("warning", "user/grace")]
    entry = read(hub.database)[-1]
    assert (entry.actor_name, entry.actor_role) == ("command line", "system")
    assert (entry.action, entry.subject) == ("operators.recover_admin", "users/grace")
    assert json.loads(entry.after).keys() == {"token", "expires_at", "is_new_user"}
    with hub.database.session() as session:
        texts = [one.message + json.dumps(one.body) for one in session.exec(select(EventRow))]
    assert [text for text in [*texts, entry.before, entry.after] if token_in(path) in text] == []


def test_it_makes_no_admin_of_somebody_who_is_none_and_lets_in_nobody_who_was_shut_out(
    hub: HubContext, person: Person, tmp_path: Path
) -> None:
    person("root", Role.ADMIN)
    person("olga", Role.OPERATOR)
    person("adam", Role.ADMIN)
    with hub.database.transaction() as session:
        disable_user(session, find_user(session, "adam"), by="root", now=utc_now())
    for name, found in (("olga", "operator"), ("adam", "disabled")):
        with pytest.raises(ConflictError, match=found):
            recover_admin(hub.settings, name, utc_now())
    with pytest.raises(InvalidInputError):
        recover_admin(hub.settings, "../ada", utc_now())
    assert not (tmp_path / "config").exists()
    assert read(hub.database) == []


@pytest.mark.usefixtures("person")
def test_another_account_is_refused_with_whose_it_is(hub: HubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(RefusedError, match=f"belongs to the account {owner}.*sudo -u '#{owner}'"):
        recover_admin(hub.settings, "ada", utc_now())
    assert read(hub.database) == []


def test_where_no_hub_is_nothing_is_made(hub: HubContext, tmp_path: Path) -> None:
    empty = hub.settings.model_copy(update={"data_dir": tmp_path / "empty", "database_url": ""})
    with pytest.raises(NotRunningError, match="hub.json"):
        recover_admin(empty, "ada", utc_now())
    assert not (tmp_path / "empty").exists()


@pytest.mark.usefixtures("person")
def test_a_database_that_is_not_the_hubs_is_told(hub: HubContext, tmp_path: Path) -> None:
    other = hub.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'other.sqlite'}"})
    with pytest.raises(DatabaseError, match="SHOAL_DATABASE_URL"):
        recover_admin(other, "ada", utc_now())


def test_the_doctor_does_not_take_it_for_the_first_token(hub: HubContext, person: Person, client: TestClient) -> None:
    person("root", Role.ADMIN)
    for row in client.get("/api/v1/operator-tokens").json():
        client.delete(f"/api/v1/operator-tokens/{row['id']}")
    recover_admin(hub.settings, "root", utc_now())
    assert first_token(Patient(hub.settings, hub.database, utc_now())).verdict == "ok"


@pytest.mark.slow
def test_a_sole_admin_who_has_lost_the_profile_comes_back_while_the_hub_runs_and_while_it_does_not(
    tmp_path: Path,
) -> None:
    hub = HubProcess(tmp_path)
    command = [sys.executable, "-m", "shoal_hub", "hub", "recover-admin"]

    def recover() -> None:
        ran = subprocess.run(command, env=hub.environment, capture_output=True, text=True, check=True, timeout=60)
        secret = token_in(tmp_path / "recovery.json")
        assert [text for text in (ran.stdout, ran.stderr, hub.log()) if secret in text] == []

    def come_in() -> None:
        profile = read_profile(tmp_path / "recovery.json")
        with ShoalClient(profile.url, profile.token.get_secret_value(), profile.ca_path) as client:
            assert client.operator().name == "admin"
            assert "admin_recovered" in [one.kind for one in client.events()]

    try:
        hub.start()
        (tmp_path / "profile.json").unlink()
        recover()
        come_in()
        hub.close()
        recover()
        hub.start()
        come_in()
    finally:
        hub.close()
