"""The CLI's users, API tokens and approvals against a real hub; secrets come by prompt or standard input alone."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import SecretStr
from tests.cli.conftest import Shoal
from tests.hub.served import ServedHub, served_hub
from tests.simulators.rows import add_device, add_version

from shoal_client import Profile, ShoalClient
from shoal_client.profile import write_profile
from shoal_hub.cli import app
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    with served_hub(tmp_path_factory.mktemp("hub")) as hub:
        with hub.hub.database.transaction() as session:
            add_device(session)
            for number in (1, 2):
                add_version(session, hub.hub.artifacts, number, {"generic-onnx-int8": bytes([number])})
        yield hub


def become(served: ServedHub, profile: Path, name: str, role: Role) -> None:
    """Have the profile speak for somebody else."""
    with served.hub.database.transaction() as session:
        token = create_operator_token(session, name, role)
    write_profile(Profile(url=served.url, token=SecretStr(token), ca_path=served.ca_path), profile)


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_whoami_tells_name_role_and_scopes(shoal: Shoal) -> None:
    ran = shoal("whoami")
    assert "ada" in ran.out
    assert "admin" in ran.out
    assert json.loads(shoal("whoami", "--json").out)["role"] == "admin"


def test_users_are_made_listed_changed_and_disabled(shoal: Shoal, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, f"{PASSWORD}\n")
    made = shoal("users", "create", "grace", "--role", "operator", "--json")
    assert json.loads(made.out)["comes_by"] == "password"
    assert "grace is approver" in shoal("users", "set-role", "grace", "approver").out
    type_in(monkeypatch, "another long password\n")
    assert "has a new password" in shoal("users", "reset-password", "grace").out
    assert "disabled" in shoal("users", "disable", "grace").out
    assert "disabled" in shoal("users", "list").out
    assert "disabled" not in shoal("users", "disable", "grace", "--undo").out
    assert json.loads(shoal("users", "create", "ci", "--no-password", "--json").out)["comes_by"] == "token"


def test_a_short_password_is_refused_and_not_repeated(shoal: Shoal, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, "hunter2\n")
    ran = shoal("users", "create", "eve")
    assert ran.status == 1
    assert "a password has 12 to 256 characters" in ran.err
    assert "hunter2" not in ran.out + ran.err


def test_an_operators_token_goes_to_standard_output_alone(shoal: Shoal, served: ServedHub) -> None:
    shoal("users", "create", "bot", "--no-password", "--role", "operator")
    ran = shoal("operator-tokens", "create", "bot", "--role", "operator", "--scope", "read", "--scope", "models")
    assert ran.out.startswith("shoal_")
    assert len(ran.out.splitlines()) == 1
    with ShoalClient(served.url, ran.out.strip(), served.ca_path) as client:
        caller = client.operator()
    assert (caller.name, caller.scopes) == ("bot", ["models", "read"])
    listed = json.loads(shoal("operator-tokens", "list", "--json").out)
    assert caller.token_id in {one["id"] for one in listed}
    assert "bot" in shoal("operator-tokens", "list").out
    assert "is revoked" in shoal("operator-tokens", "revoke", caller.token_id).out
    made = json.loads(shoal("operator-tokens", "create", "bot", "--json").out)
    assert made["scopes"] == ["read"]


def test_a_rollout_that_waits_says_so_and_another_person_approves_what_was_shown(
    shoal: Shoal, served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "profile.json"
    shoal("approvals", "policy", "digits", "--production", "2", "--rollout", "1")
    shown = json.loads(shoal("approvals", "policy", "digits", "--production", "1", "--json").out)
    assert shown == {"production": 1, "rollout": 1}, "what is not given stays"
    ran = shoal("rollouts", "start", "digits", "1", "--waves", "1")
    assert (ran.status, ran.out) == (1, "")
    assert "waits until another person approve" in ran.err
    asked = json.loads(shoal("approvals", "list", "--json").out)[0]
    assert asked["id"] in ran.err
    assert shoal("approvals", "approve", asked["id"], "--yes").status == 1, "not its author"
    become(served, profile, "anna", Role.APPROVER)
    assert "0 of 1" in shoal("approvals", "list").out
    assert asked["content_sha256"] in shoal("approvals", "show", asked["id"]).out
    type_in(monkeypatch, "n\n")
    assert shoal("approvals", "approve", asked["id"]).status == 1
    type_in(monkeypatch, "y\n")
    approved = shoal("approvals", "approve", asked["id"], "--comment", "seen")
    assert '"waves"' in approved.out, "what is approved was shown first"
    assert "is done: rollout r-" in approved.out
    assert "seen" in shoal("approvals", "show", asked["id"]).out
    assert "running" in shoal("rollouts", "list").out


def test_a_promotion_that_waits_is_rejected(shoal: Shoal, served: ServedHub, tmp_path: Path) -> None:
    shoal("approvals", "policy", "digits", "--production", "1")
    ran = shoal("models", "promote", "digits", "2", "production", "--json")
    assert ran.status == 1
    assert "waits until another person approve" in json.loads(ran.err)["error"]["message"]
    asked = json.loads(shoal("approvals", "list", "--model", "digits", "--json").out)[0]
    become(served, tmp_path / "profile.json", "anna", Role.APPROVER)
    assert "rejected by anna: no" in shoal("approvals", "reject", asked["id"], "--comment", "no").out


def test_a_viewer_is_told_which_role_is_needed(shoal: Shoal, served: ServedHub, tmp_path: Path) -> None:
    become(served, tmp_path / "profile.json", "vera", Role.VIEWER)
    ran = shoal("tokens", "create")
    assert ran.status == 1
    assert "needs the role operator" in ran.err
    assert "to do" in ran.err


def test_no_command_takes_a_secret_as_an_argument() -> None:
    def options(command: object, name: str) -> Iterator[str]:
        for part, inner in getattr(command, "commands", {}).items():
            yield from options(inner, f"{name} {part}")
        for parameter in getattr(command, "params", []):
            yield from (f"{name} {option}" for option in parameter.opts)

    words = ("password", "secret", "passphrase")
    taken = [one for one in options(typer.main.get_command(app), "shoal") if any(word in one for word in words)]
    by_another_way = ("--no-password", "-file")  # a file's name is no secret
    assert [one for one in taken if "reset-password" not in one and not one.endswith(by_another_way)] == []
    assert "--token" not in [one.split()[-1] for one in options(typer.main.get_command(app), "shoal")]
