"""The operators' CLI against a real hub: what it prints, as tables and as JSON, and how it fails."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from rich.console import Console
from tests.cli.conftest import DEVICES, Shoal
from tests.hub.registry.bundles import write_bundle
from tests.hub.served import ServedHub
from tests.simulators.rows import add_device

from shoal_client.profile import read_profile
from shoal_contract.manifest import TensorData
from shoal_hub.cli import app, output
from shoal_hub.cli.output import table
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.events.record import record_event
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.tables import VariantRow
from shoal_hub.registry.versions import find_version

ONE = TensorData(datatype="FP32", shape=(1,), data="AACAPw==").model_dump(mode="json")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


def add_variant(served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        version = find_version(session, "colours", "1")
        version.golden_inputs = {"features": ONE}
        stored = store_artifact(session, served.hub.artifacts, b"variant")
        row = VariantRow(
            version_id=version.id or 0,
            target="generic-onnx-int8",
            runtime="onnxruntime",
            format="onnx",
            precision="int8",
            sha256=stored.sha256,
            size_bytes=7,
            accuracy=0.98,
            golden_outputs={"probabilities": ONE},
            golden_tolerance=0.1,
            created_at=utc_now(),
        )
        session.add_all([version, row])


def test_the_way_of_a_model_from_registration_to_a_rollout_and_back(
    shoal: Shoal, served: ServedHub, bundle: Path
) -> None:
    registered = shoal("models", "register", str(bundle), "--alias", "champion", "--json")
    assert json.loads(registered.out)["number"] == 1
    assert "colours" in shoal("models", "list").out
    assert "no rollout" in shoal("models", "show", "colours").out
    shown = shoal("models", "show", "colours", "champion").out
    assert "linear classifier" in shown
    assert "shoal models compress colours 1" in shown, "it says what to do next"
    assert "j-" in shoal("models", "compress", "colours", "1", "--detach").out
    assert json.loads(shoal("jobs", "list", "--json").out)[0]["kind"] == "compress"
    add_variant(served)
    assert "0.98" in shoal("models", "show", "colours", "1").out
    assert "is now staging" in shoal("models", "promote", "colours", "1", "staging", "--comment", "fine").out
    assert "fine" in shoal("models", "history", "colours", "1").out
    assert "candidate is version 1" in shoal("models", "alias", "colours", "candidate", "1").out
    assert "rollout in waves" in shoal("models", "policy", "colours", "--waves", "1,2").out
    assert "no rollout" in shoal("models", "policy", "colours", "--off").out
    started = shoal("rollouts", "start", "colours", "1", "--device", "garden", "--waves", "1", "--json")
    rollout = json.loads(started.out)
    assert [one["device_id"] for one in rollout["deployments"]] == [DEVICES["garden"]]
    assert rollout["id"] in shoal("rollouts", "list").out
    assert "paused" in shoal("rollouts", "pause", rollout["id"]).out
    assert "running" in shoal("rollouts", "resume", rollout["id"]).out
    assert "garden" in shoal("rollouts", "show", rollout["id"]).out
    assert json.loads(shoal("rollouts", "abort", rollout["id"], "--json").out)["state"] in {"aborted", "rolling_back"}
    events = shoal("events", "--subject", f"rollout/{rollout['id']}", "--json")
    assert json.loads(events.out)[0]["kind"] == "rollout_started"


def test_the_records_of_a_version_are_shown_and_kept_as_files(
    shoal: Shoal, served: ServedHub, bundle: Path, tmp_path: Path
) -> None:
    shoal("models", "register", str(bundle))
    assert "# colours version" in shoal("models", "card", "colours", "latest").out
    assert json.loads(shoal("models", "card", "colours", "latest", "--json").out)["model"] == "colours"
    assert "CycloneDX" in shoal("models", "bom", "colours", "latest").out
    assert json.loads(shoal("models", "bom", "colours", "latest", "--json").out)["bomFormat"] == "CycloneDX"
    assert served.hub.director.key_id in shoal("models", "provenance", "colours", "latest").out
    stated = json.loads(shoal("models", "provenance", "colours", "latest", "--json").out)[0]
    assert stated["statement"]["_type"] == "https://in-toto.io/Statement/v1"
    for record, start in (("card", "# colours"), ("bom", "{"), ("provenance", '{"payload"')):
        kept = tmp_path / record
        assert shoal("models", record, "colours", "latest", "--output", str(kept)).status == 0
        assert kept.read_text().startswith(start)
    refused = shoal("models", "bom", "colours", "latest", "--output", str(tmp_path / "none" / "x"))
    assert refused.status == 1
    assert "may use it" in refused.err


def test_versions_are_encrypted_by_command_by_option_and_by_policy(shoal: Shoal, tmp_path: Path) -> None:
    folder = str(write_bundle(tmp_path / "bundle", name="secrets"))
    assert json.loads(shoal("models", "register", folder, "--json").out)["is_encrypted"] is False
    assert "ciphertext" in shoal("models", "encrypt", "secrets", "1").out
    assert json.loads(shoal("models", "register", folder, "--encrypted", "--json").out)["is_encrypted"] is True
    assert "encrypted" in shoal("models", "encrypt", "secrets", "--new-versions").out
    assert json.loads(shoal("models", "register", folder, "--json").out)["is_encrypted"] is True
    assert (
        json.loads(shoal("models", "encrypt", "secrets", "--no-new-versions", "--json").out)["encrypt_versions"]
        is False
    )
    nothing = shoal("models", "encrypt", "secrets")
    assert (nothing.status, "--new-versions" in nothing.err) == (2, True)


def test_devices_are_found_by_name_or_id_renamed_and_tagged(shoal: Shoal) -> None:
    listed = shoal("devices", "list")
    assert all(device_id in listed.out for device_id in DEVICES.values())
    assert "never" in shoal("devices", "show", "garden").out
    renamed = shoal("devices", "rename", DEVICES["garden"], "green house", "--json")
    assert json.loads(renamed.out)["name"] == "green house"
    shoal("devices", "tag", "green house", "site=north", "old=x")
    tagged = shoal("devices", "tag", "green house", "old=", "--json")
    assert json.loads(tagged.out)["tags"] == {"site": "north"}
    shoal("devices", "rename", DEVICES["garden"], "garden")


def test_a_device_behind_the_first_page_is_listed_and_found(shoal: Shoal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_client.resources._PAGE", 1)
    assert len(json.loads(shoal("devices", "list", "--json").out)) == len(DEVICES)
    for device_id in DEVICES.values():
        assert shoal("devices", "show", device_id).status == 0


def test_a_name_that_two_devices_share_asks_for_an_id(shoal: Shoal) -> None:
    ran = shoal("devices", "show", "kitchen")
    assert ran.status == 1
    assert DEVICES["twin"] in ran.err


def test_a_token_goes_to_standard_output_alone_so_that_a_script_can_take_it(shoal: Shoal) -> None:
    ran = shoal("tokens", "create", "--label", "kitchen", "--uses", "2", "--hours", "0.5")
    assert re.fullmatch(r"shoal1\.[0-9a-f]{64}\.\S+\n", ran.out)
    assert "shoal-agent enrol" in ran.err
    token = json.loads(shoal("tokens", "list", "--json").out)[0]
    assert token["uses_left"] == 2
    assert "is revoked" in shoal("tokens", "revoke", token["id"]).out
    assert "revoked" in shoal("tokens", "list").out


def test_login_keeps_the_profile_only_if_the_hub_takes_the_token(
    shoal: Shoal, served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_PROFILE", str(tmp_path / "new" / "profile.json"))
    monkeypatch.setattr("sys.stdin", io.StringIO("shoal_wrong\n"))
    refused = shoal("login", served.url, "--ca", str(served.ca_path))
    assert refused.status == 1
    assert not (tmp_path / "new" / "profile.json").exists()
    for token, url in (("", served.url), ("shoal_\u00e9", served.url), ("shoal_x", "http://localhost:1")):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
        ran = shoal("login", url, "--ca", str(served.ca_path))
        assert (ran.status, "to do" in ran.err, "Traceback" in ran.err) == (1, True, False), ran.err
    fingerprint = served.hub.authority.fingerprint
    monkeypatch.setenv("SHOAL_OPERATOR_TOKEN", served.token)
    assert "as ada (admin)" in shoal("login", served.url, "--fingerprint", fingerprint).out
    assert read_profile(tmp_path / "new" / "profile.json").ca_path == tmp_path / "new" / f"ca-{fingerprint[:16]}.pem"
    assert shoal("devices", "list").status == 0


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("models", "show", "fish"), "no model fish"),
        (("models", "promote", "fish", "1", "staging"), "no model fish"),
        (("rollouts", "start", "fish", "1"), "no model fish"),
        (("rollouts", "watch", "r-none"), "no rollout"),
        (("jobs", "log", "j-none"), "no job"),
        (("federated", "start", "fish"), "no model fish"),
        (("federated", "watch", "f-none"), "no federated run"),
        (("tokens", "revoke", "et-none"), "no enrolment token"),
        (("devices", "show", "nobody"), "no device"),
        (("events", "--device", "nobody"), "no device"),
    ],
)
def test_an_expected_failure_is_a_message_with_a_remedy_and_no_traceback(
    shoal: Shoal, arguments: tuple[str, ...], found: str
) -> None:
    ran = shoal(*arguments)
    assert (ran.status, ran.out) == (1, "")
    assert found in ran.err
    assert "to do" in ran.err
    assert "Traceback" not in ran.err
    as_json = shoal(*arguments, *(() if arguments[:2] == ("jobs", "log") else ("--json",)))
    if arguments[:2] != ("jobs", "log"):
        assert found in json.loads(as_json.err.splitlines()[-1])["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "export", "/nowhere/audit.jsonl"),
        ("models", "register", "/"),
        ("trust", "sign", "--submit", "/nowhere/request.json"),
        ("trust", "init", "--out", "/proc/nowhere", "--passphrase-file", __file__),
        ("trust", "init", "--out", "/nowhere", "--root-keys", "1", "--passphrase-file", __file__),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(shoal: Shoal, arguments: tuple[str, ...]) -> None:
    ran = shoal(*arguments)
    assert (ran.status, ran.out) == (1, "")
    assert "to do" in ran.err
    assert "Traceback" not in ran.err
    assert "Errno" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("trust", "sign", "--keys", "/nowhere"),
        ("models", "promote", "colours", "1", "best"),
        ("rollouts", "start", "colours", "1", "--waves", "a,b"),
        ("models", "register", "/nowhere"),
        ("tokens", "create", "--uses", "0"),
        ("nonsense",),
    ],
)
def test_a_wrong_command_line_is_explained(shoal: Shoal, arguments: tuple[str, ...]) -> None:
    ran = shoal(*arguments)
    assert ran.status == 2
    assert "Traceback" not in ran.err


def test_without_a_profile_the_cli_says_how_to_log_in(
    shoal: Shoal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_PROFILE", str(tmp_path / "none.json"))
    ran = shoal("devices", "list")
    assert ran.status == 1
    assert "shoal login" in ran.err


def test_a_devices_name_cannot_style_the_operators_terminal(shoal: Shoal) -> None:
    shoal("devices", "rename", DEVICES["garden"], "[red]x[/red]")
    assert "[red]x[/red]" in shoal("devices", "list").out
    shoal("devices", "rename", DEVICES["garden"], "garden")


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "\x9b31m", "\r\nok", "\u202egnp", ":warning:"])
def test_what_a_device_says_cannot_steer_the_operators_terminal(shoal: Shoal, served: ServedHub, text: str) -> None:
    with served.hub.database.transaction() as session:
        device = session.get_one(Device, DEVICES["garden"])
        device.presence, device.presence_reason = "offline", text
        device.name = text
        record_event(session, "device_said", text, device_id=device.id, severity="warning")
    for command in (("devices", "list"), ("devices", "show", DEVICES["garden"]), ("events",)):
        for more in ((), ("--json",)):
            ran = shoal(*command, *more)
            assert ran.status == 0
            if text == ":warning:":
                assert text in ran.out, "and Rich makes no picture of it"
            assert not set(ran.out) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}, (command, more)
    with served.hub.database.transaction() as session:
        session.get_one(Device, DEVICES["garden"]).name = "garden"


def test_lists_of_nothing_say_what_to_do_next(shoal: Shoal) -> None:
    assert "shoal federated start" in shoal("federated", "list").out
    assert "No drift" in shoal("drift", "list").out


def commands(command: click.Command, name: str = "shoal") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for part in command.commands:
            yield from commands(command.commands[part], f"{name} {part}")
    else:
        yield name, command


def test_every_command_has_help_an_example_and_json() -> None:
    for name, command in commands(typer.main.get_command(app)):
        assert command.help, name
        assert (command.epilog or "").startswith("Example: "), name
        assert name.split(" ", 1)[1] in (command.epilog or ""), name
        if not name.startswith("shoal hub") and name not in {"shoal jobs log", "shoal serve"}:  # a log, and servers
            assert any("--json" in parameter.opts for parameter in command.params), name
        for parameter in command.params:
            assert getattr(parameter, "help", None), (name, parameter.name)


def test_a_device_is_revoked_shown_as_such_and_decommissioned(shoal: Shoal, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        device = add_device(session, name="attic")
    ran = shoal("devices", "revoke", "attic", "--reason", "stolen")
    assert ran.status == 0
    assert f"{device.id} is revoked" in ran.out
    assert "shoal tokens create" in ran.out
    assert "revoked" in shoal("devices", "list").out
    shown = shoal("devices", "show", "attic").out
    assert "stolen" in shown
    assert "not yet: the broker has not been seen to refuse it" in shown
    for _ in range(2):
        assert json.loads(shoal("devices", "decommission", device.id, "--json").out)["decommissioned_at"]
    assert device.id not in shoal("devices", "list").out
    assert "decommissioned" in shoal("devices", "list", "--decommissioned").out
    assert "no device has the id or name attic" in shoal("devices", "show", "attic").err


def test_a_table_leaves_out_empty_columns_only_where_the_terminal_has_no_room_for_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns, rows = ("DEVICE", "BUDGET", "UPLINK"), [("a-device-of-site-0001", None, "1.53 MB"), ("b", None, "")]
    heads = {}
    for width in (80, 35):
        monkeypatch.setattr(output, "console", Console(width=width))
        table(columns, rows, empty="nothing")
        heads[width] = capsys.readouterr().out.splitlines()[0].split()
    assert heads == {80: ["DEVICE", "BUDGET", "UPLINK"], 35: ["DEVICE", "UPLINK"]}
