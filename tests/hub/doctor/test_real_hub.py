"""A real hub: every kind of secret goes through its logs, and none stays in logs, database or arguments."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hub.test_redaction import SAMPLES
from tests.simulators.hub_process import HubProcess

from shoal_client.profile import read_profile

WAIT_S = 30.0
# Python runs this at the start of every process of the hub: it logs each secret, as a careless line would.
SITECUSTOMIZE = """
import json, logging, sys, threading, time, warnings

def leak():
    while not logging.getLogger().handlers:
        time.sleep(0.01)
    for text in json.loads({samples!r}):
        logging.getLogger("careless").error("one: %s", text)
        logging.getLogger("uvicorn.error").error("two: %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("paho").exception("three")
        warnings.warn(text)
    logging.getLogger("careless").error("told")
    raise RuntimeError(json.loads({samples!r})[0])

if sys.orig_argv[1:3] == ["-m", "shoal_hub.processes"]:
    threading.Thread(target=leak, daemon=True).start()
"""


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder = tmp_path_factory.mktemp("careless")
    (folder / "site").mkdir()
    samples = json.dumps([text for text, _ in SAMPLES.values()])
    (folder / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE.format(samples=samples))
    hub = HubProcess(folder)
    hub.environment["PYTHONPATH"] = f"{folder / 'site'}{os.pathsep}{hub.environment['PYTHONPATH']}"
    try:
        yield hub.start()
    finally:
        hub.close()


def doctor(hub: HubProcess) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "shoal_hub", "hub", "doctor", "--json"]
    ran = subprocess.run(command, env=hub.environment, capture_output=True, text=True, check=False, timeout=WAIT_S)
    return ran.returncode, {one["name"]: one for one in json.loads(ran.stdout)}


def test_no_secret_stays_in_logs_database_or_arguments_and_the_doctor_says_so(careless: HubProcess) -> None:
    with careless.client() as client:
        token = client.tokens.create(label="kitchen").token.split(".")[-1]
        by_people = [one.action for one in client.audit.list(by="people")]
        by_hub = [(one.actor_name, one.action) for one in client.audit.list(by="hub")]
    assert by_people == ["devices.create_enrolment_token"]
    assert by_hub == [
        ("supervisor", "trust.begin"),
        ("supervisor", "operators.first_token"),
        ("controller", "trust.sign_all_again"),
    ]
    operator = read_profile(careless.folder / "profile.json").token.get_secret_value()
    logs = [careless.data / "run" / f"{name}.log" for name in ("api", "ingest", "controller")]
    deadline = time.monotonic() + WAIT_S
    while not all("has ended" in log.read_text() for log in logs):
        assert time.monotonic() < deadline, [log.read_text()[-500:] for log in logs]
        time.sleep(0.05)  # a log tells nobody
    known = {operator, token, *(secret for _, secret in SAMPLES.values())}
    for log in [*logs, careless.folder / "hub.log", *careless.data.glob("broker/*.log")]:
        text = log.read_text()
        assert [secret for secret in known if secret in text] == [], log
    for log in logs:
        assert log.read_text().count("(secret)") >= 4 * len(SAMPLES), "they went through, without what is secret"
    dump = b"".join(path.read_bytes() for path in careless.data.glob("hub.sqlite*"))
    assert len(dump) > 10_000
    assert [secret for secret in known if secret.encode() in dump] == []
    assert careless.process is not None
    arguments = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert b"shoal_hub.processes" in arguments
    assert [secret for secret in (operator, token) if secret.encode() in arguments] == []
    status, findings = doctor(careless)
    assert status == 0, findings
    assert {one["verdict"] for one in findings.values()} == {"ok", "warn"}
    assert {name for name, one in findings.items() if one["verdict"] == "warn"} == {"first token", "update metadata"}


def test_the_doctor_fails_with_status_one_for_what_is_wrong_and_says_how_to_mend_it(careless: HubProcess) -> None:
    (careless.data / "run" / "old.log").write_text(next(iter(SAMPLES.values()))[0])
    (careless.data / "trust" / "ca-1.key").chmod(0o644)
    with (careless.data / "broker" / "hub.acl").open("a") as rules:
        rules.write("topic readwrite #\n")
    status, findings = doctor(careless)
    assert status == 1
    wrong = {name: one for name, one in findings.items() if one["verdict"] == "fail"}
    assert set(wrong) == {"file modes", "secrets in logs", "broker configuration"}
    assert all(one["remedy"] for one in wrong.values())
    (careless.data / "trust" / "ca-1.key").chmod(0o600)
    (careless.data / "run" / "old.log").unlink()
    (careless.data / "broker" / "mosquitto.conf").unlink()
    assert "cannot be compared" in doctor(careless)[1]["broker configuration"]["found"]
