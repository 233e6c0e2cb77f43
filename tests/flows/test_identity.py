"""The life of an identity with a real hub, broker and agents: renewals while it serves, and another CA."""

import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

import numpy as np
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.flows.conftest import MODEL, Fleet
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub_process import HubProcess

from shoal_agent.enrol import Waiting, enrol
from shoal_agent.errors import EnrolmentError
from shoal_agent.identity import describe, load_or_make_key
from shoal_client.fleet import Device
from shoal_contract.device_signature import device_key_id

LIFE_S = 12
WAIT_S = 60.0
X = np.ones((1, 4), dtype=np.float32)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A hub whose certificates last seconds, and two agents of which the first runs."""
    hub = HubProcess(tmp_path / "hub", SHOAL_CERTIFICATE_LIFE_S=str(LIFE_S), SHOAL_RENEWALS_PER_HOUR="1000").start()
    agents: list[AgentProcess] = []
    try:
        with hub.client() as client:
            for name in ("kitchen", "garden"):
                agent = AgentProcess(tmp_path / name, is_quick=True)
                token = client.tokens.create(group="home", tags={"room": name}).token
                agent.device_id = enrol(agent.data / "identity", hub.url, token, name).device_id
                agents.append(agent)
            agents[0].start()
            yield Fleet(hub, client, agents)
    finally:
        for agent in agents:
            agent.close()
        hub.close()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    tick, deadline_s = threading.Event(), time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        tick.wait(0.1)


def serial(agent: AgentProcess) -> str:
    return describe(agent.data / "identity")["serial"]


def device(fleet: Fleet, index: int) -> Device:
    return next(one for one in fleet.client.devices.list() if one.id == fleet.device_ids[index])


def is_online(fleet: Fleet, index: int) -> bool:
    return device(fleet, index).presence == "online"


def counted(fleet: Fleet) -> int:
    return sum(window.requests for window in fleet.client.drift.windows(device=fleet.device_ids[0], limit=1000))


@pytest.mark.slow
def test_a_device_renews_while_it_serves_and_loses_no_message(fleet: Fleet, tmp_path: Path) -> None:
    number = fleet.add_version(tmp_path / "version", seed=1)
    rollout = fleet.client.rollouts.start(MODEL, number, devices=fleet.device_ids[:1])
    fleet.watch(rollout.id, "succeeded")
    fleet.client.devices.configure(fleet.device_ids[0], window_s=5, window_requests=10)

    seen, asked, tick = {serial(fleet.agents[0])}, 0, threading.Event()
    deadline_s = time.monotonic() + WAIT_S
    while len(seen) < 3:
        assert time.monotonic() < deadline_s, "it does not renew"
        fleet.predict(0, X)  # every request is answered
        asked += 1
        seen.add(serial(fleet.agents[0]))
        tick.wait(0.1)

    wait_until(lambda: counted(fleet) >= asked, "each request was counted")
    assert counted(fleet) == asked
    assert is_online(fleet, 0)
    known = {one.serial for one in fleet.client.devices.show(fleet.device_ids[0]).certificates}
    assert seen <= known
    assert not (fleet.agents[0].data / "identity" / "next.key").exists()


@pytest.mark.slow
def test_a_device_that_was_off_until_its_certificate_had_ended_renews_and_takes_up_what_it_missed(
    fleet: Fleet, tmp_path: Path
) -> None:
    """As one that comes back after 400 days: the broker lets it in no more, the hub renews over HTTPS."""
    off = fleet.agents[1]
    before = describe(off.data / "identity")
    number = fleet.add_version(tmp_path / "version", seed=1)
    rollout = fleet.client.rollouts.start(MODEL, number, devices=fleet.device_ids)
    ends_at = datetime.fromisoformat(before["expires_at"])
    wait_until(lambda: datetime.now(timezone.utc) > ends_at, "its certificate has ended")
    assert serial(off) == before["serial"]
    off.start()
    fleet.watch(rollout.id, "succeeded")
    assert serial(off) != before["serial"]
    assert off.serves(MODEL) == number
    assert is_online(fleet, 1)


@pytest.mark.slow
def test_another_ca_takes_over_with_one_device_on_and_one_off_all_the_time(fleet: Fleet) -> None:
    on, off = fleet.agents
    wait_until(lambda: is_online(fleet, 0), "the first device is there")
    old_token = fleet.client.tokens.create().token
    old = fleet.client.ca.announce()
    assert (old.phase, len(old.trusted)) == ("announced", 2)

    _wait_for_broker(fleet)
    new = fleet.client.ca.switch()
    assert new.issuing != old.issuing
    wait_until(lambda: _has_certificate_by(fleet, 0, new.issuing), "the first device has a certificate by the new CA")
    wait_until(lambda: _api_shows_one_by(fleet, new.issuing), "the API shows a certificate by the new CA")
    late = on.data.with_name("late") / "identity"
    assert enrol(late, fleet.hub.url, old_token, "late").device_id  # pins the CA of before
    assert _shoal(fleet, "trust", "ca", "status", "--json")["phase"] == "switched"
    _shoal(fleet, "trust", "ca", "finish", "--force", "--json")

    assert off.start().is_running  # its certificate has ended, its CA is one that nobody signs by
    wait_until(lambda: is_online(fleet, 1), "the device that was off is back")
    assert _has_certificate_by(fleet, 1, new.issuing)
    wait_until(lambda: is_online(fleet, 0), "the device that was on is still there")


def test_a_device_that_waits_enrols_once_an_operator_has_accepted_it(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path / "hub", SHOAL_ENROL_BY_HAND="true", SHOAL_PENDING_RETRY_S="1").start()
    folder, looks = tmp_path / "shed" / "identity", []
    try:
        with hub.client() as client:
            pin = client.ca.status().issuing

            def look(_seconds: float) -> None:
                waiting = client.enrolments.pending()
                looks.append(waiting[0].key_sha256)
                client.enrolments.accept(waiting[0].key_sha256, group="shed")

            enrolled = enrol(folder, hub.url, "", "shed", ca_sha256=pin, waiting=Waiting(sleep=look))
            assert looks == [device_key_id(load_or_make_key(folder).public_key())]
            assert [(one.id, one.group) for one in client.devices.list(group="shed")] == [(enrolled.device_id, "shed")]
    finally:
        hub.close()


def test_a_token_lets_one_agent_in_and_no_second_one_no_guesser_and_none_that_asks_for_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = HubProcess(tmp_path / "hub", SHOAL_WRONG_TOKENS_PER_MINUTE="3").start()
    try:
        with hub.client() as client:
            victim = enrol(tmp_path / "victim", hub.url, client.tokens.create().token, "victim")
            token = client.tokens.create().token
            for subject, extension in (
                (victim.device_id, None),
                ("hub-controller", None),
                ("", x509.BasicConstraints(ca=True, path_length=0)),
                ("", x509.SubjectAlternativeName([x509.DNSName(victim.device_id)])),
            ):
                with monkeypatch.context() as lying:
                    lying.setattr("shoal_agent.enrol.make_signing_request", partial(_ask_for_more, subject, extension))
                    with pytest.raises(EnrolmentError, match="it asks for"):
                        enrol(tmp_path / "liar", hub.url, token, "liar")
            first = enrol(tmp_path / "first", hub.url, token, "first")  # none of them has used it up
            with pytest.raises(EnrolmentError, match="was used already"):
                enrol(tmp_path / "second", hub.url, token, "second")
            unused = client.tokens.create().token
            for _ in range(3):
                with pytest.raises(EnrolmentError, match="does not know this token"):
                    enrol(tmp_path / "guesser", hub.url, f"{token[:-8]}{token_hex(4)}", "guesser")
            with pytest.raises(EnrolmentError, match="unknown enrolment tokens a minute"):
                enrol(tmp_path / "guesser", hub.url, unused, "guesser")  # now not even with a right one
            assert {one.id for one in client.devices.list()} == {victim.device_id, first.device_id}
    finally:
        hub.close()


def _ask_for_more(subject: str, extension: x509.ExtensionType | None, key: ec.EllipticCurvePrivateKey) -> str:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _wait_for_broker(fleet: Fleet) -> None:
    """Wait until the broker has started again: it trusts the new CA before anybody has a certificate by it."""
    wait_until(lambda: fleet.hub.log().count("certificates have changed") == 1, "the hub has noticed the new CA")
    wait_until(lambda: is_online(fleet, 0), "the device is there")


def _api_shows_one_by(fleet: Fleet, authority: str) -> bool:
    address = urlsplit(fleet.hub.url)
    leaf = x509.load_pem_x509_certificate(
        ssl.get_server_certificate((address.hostname or "", address.port or 0)).encode()
    )
    bundle = x509.load_pem_x509_certificates((fleet.hub.data / "trust" / "ca.pem").read_bytes())
    issuer = next(one for one in bundle if one.fingerprint(hashes.SHA256()).hex() == authority)
    try:
        leaf.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    return True


def _has_certificate_by(fleet: Fleet, index: int, authority: str) -> bool:
    found = fleet.client.devices.show(fleet.device_ids[index]).certificates
    mine = serial(fleet.agents[index])
    return any(one.authority == authority and one.serial == mine for one in found)


def _shoal(fleet: Fleet, *arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", "shoal_hub", *arguments]
    done = subprocess.run(command, env=fleet.hub.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer
