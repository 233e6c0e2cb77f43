"""Each check finds what it is for, and says what to do; a hub without that fault passes it."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.hub.audit.trail import overpower, run, write
from tests.simulators.rows import add_device

from shoal_client.profile import Profile, write_profile
from shoal_hub.audit.anchor import AnchorFile, AuditSigner
from shoal_hub.broker.config import device_acl
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device
from shoal_hub.doctor import expiry, files, machine, secrets, trail
from shoal_hub.doctor.check import Finding, Patient
from shoal_hub.doctor.examine import CHECKS, _run, examine_hub
from shoal_hub.errors import SettingsError
from shoal_hub.events.record import record_event
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.operators.tokens import create_operator_token
from shoal_hub.security import hash_secret
from shoal_hub.settings import Settings

TOKEN = "shoal_" + "t" * 43
WAIT_S = 20.0


@pytest.fixture
def patient(hub: HubContext) -> Patient:
    data = hub.settings.data
    for folder in ("run", "broker", "jobs/j-1"):
        (data / folder).mkdir(parents=True)
    for path in [data, *data.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    return Patient(hub.settings, hub.database, utc_now())


def failing(finding: Finding) -> str:
    assert finding.verdict == "fail", finding
    assert finding.remedy, "it says what to do"
    return finding.found


def test_a_file_or_folder_that_is_open_to_others_is_named(patient: Patient) -> None:
    assert files.file_modes(patient).verdict == "ok"
    (patient.settings.data / "run" / "api.log").write_text("")
    (patient.settings.data / "run" / "api.log").chmod(0o640)
    assert "api.log" in failing(files.file_modes(patient))
    (patient.settings.data / "run" / "api.log").unlink()
    patient.settings.data.chmod(0o750)
    assert "1 are open" in failing(files.file_modes(patient))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_account_is_named(patient: Patient) -> None:
    assert files.file_owner(patient).verdict == "ok"
    stranger = patient.settings.data / "trust" / "ca-1.key"
    os.chown(stranger, 12345, -1)
    assert "ca-1.key" in failing(files.file_owner(patient))


def test_signing_keys_in_the_clear_are_warned_of_and_those_of_connections_are_not(patient: Patient) -> None:
    assert files.keys_at_rest(patient).verdict == "ok"
    trust = patient.settings.data / "trust"
    for name in ("server", "director-1"):
        (trust / f"{name}.key").write_text("-----BEGIN PRIVATE KEY-----")
    (trust / "server.pem").write_text("")
    finding = files.keys_at_rest(patient)
    assert finding.verdict == "warn"
    assert "director-1.key" in finding.found
    assert "server.key" not in finding.found


def test_offline_keys_that_lie_on_the_hub_and_metadata_that_runs_out_are_warned_of(
    patient: Patient, hub: HubContext
) -> None:
    with patient.database.transaction() as session:
        hub.trust.writing(session)
    fresh = expiry.metadata(patient)
    assert fresh.verdict == "warn"
    assert "lie on the hub" in fresh.found
    assert "shoal trust status" in fresh.remedy
    later = expiry.metadata(replace(patient, now=patient.now + timedelta(days=6)))
    assert "timestamp" in later.found


@pytest.mark.parametrize("log", ["run/api.log", "broker/mosquitto.log", "broker/mosquitto.out", "jobs/j-1/log"])
def test_a_secret_in_a_log_is_found_and_not_repeated(patient: Patient, log: str) -> None:
    path = patient.settings.data / log
    path.write_text("nothing")
    assert secrets.secrets_in_logs(patient).verdict == "ok"
    path.write_text("x" * (4 * 2**20 - 20) + f" {TOKEN}\n")  # across the border of two parts
    found = failing(secrets.secrets_in_logs(patient))
    assert f"{path}: an operator's token" in found
    assert TOKEN not in found


def test_a_secret_in_any_text_of_the_database_is_found_by_table_and_column(patient: Patient) -> None:
    with patient.database.transaction() as session:
        add_device(session)
        create_operator_token(session, "ada")
    assert secrets.secrets_in_database(patient).verdict == "ok"
    with patient.database.transaction() as session:
        record_event(session, "test", "x", body={"deep": [{"url": "https://ada:lovelace@example.org/"}]})
        add_device(session, tags={"x": TOKEN})
    found = failing(secrets.secrets_in_database(patient))
    assert "events.body: a password in a URL" in found
    assert "devices.tags: an operator's token" in found
    assert TOKEN not in found


def test_a_secret_in_the_arguments_of_the_hubs_processes_or_their_children_is_found(patient: Patient) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()', sys.stdin.readline().strip()])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        (patient.settings.data / "run" / "api.ready").write_text(str(process.pid))
        assert secrets.secrets_in_arguments(patient).verdict == "ok"
        process.stdin.write("--url=postgresql://shoal:hunter2@db/x\n")
        process.stdin.flush()
        finding = secrets.secrets_in_arguments(patient)
        deadline = utc_now() + timedelta(seconds=WAIT_S)
        while finding.verdict == "ok" and utc_now() < deadline:
            finding = secrets.secrets_in_arguments(patient)
        process.kill()
    assert "a password in a URL" in failing(finding)
    assert "hunter2" not in finding.found


def test_certificates_are_told_of_before_they_end(hub: HubContext, patient: Patient) -> None:
    hub.authority.issue_server(["localhost"])
    assert expiry.certificates(patient).verdict == "ok"
    soon = Patient(patient.settings, patient.database, patient.now + timedelta(days=340))
    assert expiry.certificates(soon).verdict == "warn"
    late = Patient(patient.settings, patient.database, patient.now + timedelta(days=370))
    assert "server.pem ended" in failing(expiry.certificates(late))


def sign(patient: Patient) -> None:
    data = patient.settings.data
    signer = AuditSigner(
        patient.database, data / "trust", AnchorFile(data), lambda _: None, anchor_s=20, liveness_s=3600
    )
    signer.step(utc_now(), is_urgent=True)


def test_the_trail_is_verified_and_its_last_anchor_has_to_be_recent(patient: Patient) -> None:
    assert trail.audit_trail(patient).verdict == "warn", "no anchor yet"
    sign(patient)
    assert trail.audit_trail(patient).verdict == "ok"
    hours = Patient(patient.settings, patient.database, patient.now + timedelta(hours=2))
    assert trail.audit_trail(hours).verdict == "warn"
    write(patient.database, 3)
    assert "3 entries" in failing(trail.audit_trail(hours))
    sign(patient)
    assert "3 entries, 3 covered" in trail.audit_trail(patient).found
    assert trail.append_only(patient).verdict == "ok"
    overpower(patient.database)
    assert "0 of" in failing(trail.append_only(patient))
    run(patient.database, "DELETE FROM audit_entries WHERE sequence = 2")
    assert "entry 2 is missing" in failing(trail.audit_trail(patient))


def test_a_clock_behind_what_was_recorded_is_found(patient: Patient) -> None:
    assert machine.clock(patient).verdict == "ok"
    with patient.database.transaction() as session:
        record_event(session, "test", "x")
    early = Patient(patient.settings, patient.database, patient.now - timedelta(days=1))
    assert "has written" in failing(machine.clock(early))


def test_the_first_token_is_warned_of_until_it_is_revoked_and_in_no_file(patient: Patient) -> None:
    assert machine.first_token(patient).verdict == "ok"
    with patient.database.transaction() as session:
        token = create_operator_token(session, "admin")
    finding = machine.first_token(patient)
    assert finding.verdict == "warn"
    assert token not in finding.found + finding.remedy
    with patient.database.transaction() as session:
        row = session.get_one(OperatorToken, finding.found.split("(")[1].split(",")[0])
        assert row.secret_sha256 == hash_secret(token)
        row.revoked_at = patient.now
        session.add(row)
    assert machine.first_token(patient).verdict == "ok"
    kept = patient.settings.data / "operator.json"
    write_profile(Profile(url="https://x", token=SecretStr(token)), kept)
    finding = machine.first_token(patient)
    assert (finding.verdict, str(kept) in finding.found) == ("warn", True)
    assert token not in finding.found + finding.remedy


@pytest.mark.parametrize(("version", "verdict"), [("2.0.10", "fail"), ("2.0.11", "ok"), ("2.1.0", "ok"), ("?", "warn")])
def test_mosquitto_has_to_be_new_enough(hub: HubContext, tmp_path: Path, version: str, verdict: str) -> None:
    program = tmp_path / "mosquitto"
    program.write_text(f"#!/bin/sh\necho mosquitto version {version}\nexit 3\n")
    program.chmod(0o700)
    settings = hub.settings.model_copy(update={"mosquitto": str(program)})
    assert machine.mosquitto_version(Patient(settings, hub.database, utc_now())).verdict == verdict
    settings = hub.settings.model_copy(update={"mosquitto": str(tmp_path / "none")})
    assert "not found" in failing(machine.mosquitto_version(Patient(settings, hub.database, utc_now())))


def test_a_disk_that_fills_is_told_of(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.disk_space(patient).verdict == "ok"
    monkeypatch.setattr(machine, "_FEW_FREE_BYTES", 2**60)
    assert machine.disk_space(patient).verdict == "warn"
    monkeypatch.setattr(machine, "_LEAST_FREE_BYTES", 2**60)
    assert "GiB free" in failing(machine.disk_space(patient))


def test_a_check_that_cannot_look_is_a_failure_of_its_own_and_holds_up_no_other(patient: Patient) -> None:
    (patient.settings.data / "trust" / "audit.pub").unlink()
    findings = [_run(check, patient) for check in CHECKS]
    assert len({one.name for one in findings}) == len(CHECKS)
    (broken,) = [one for one in findings if one.name == "audit trail"]
    assert "start the hub" in broken.remedy
    assert broken.verdict == "fail"


def test_the_guide_names_every_check_as_monitoring_gets_it() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "doctor.md").read_text()
    rows = [line.split("|")[1].strip() for line in guide.splitlines() if line.startswith("| ")]
    assert rows[1:] == [check.name for check in CHECKS]


def test_a_folder_without_a_hub_is_refused_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SHOAL_DATA"):
        examine_hub(Settings(data_dir=tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_a_revoked_device_that_the_broker_does_not_deny_or_has_not_cut_off_is_named(patient: Patient) -> None:
    rules = patient.settings.data / "broker" / "devices.acl"
    with patient.database.transaction() as session:
        device = add_device(session)
        revoke(session, device, by="ada", reason="stolen", now=patient.now)
    assert "cannot be read" in failing(machine.device_access(patient))
    rules.write_text(device_acl(frozenset()))
    assert "is not what the database asks for" in failing(machine.device_access(patient))
    rules.write_text(device_acl({device.id}))
    assert device.id in failing(machine.device_access(patient))
    with patient.database.transaction() as session:
        session.get_one(Device, device.id).cut_off_at = patient.now
    assert machine.device_access(patient).verdict == "ok"
