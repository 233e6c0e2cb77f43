"""Enrolment: the token's secret goes to the hub that made it and to nobody else; the key stays here."""

import json
from pathlib import Path

import pytest
from cryptography import x509
from tests.agent.simulators.director import DEVICE
from tests.agent.simulators.https_hub import SECRET, Authority, HttpsHub, https_hub
from tests.agent.simulators.power_cut import FragileDisk, PowerCutError

from shoal_agent.clock import Clock
from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.enrol import Waiting, enrol
from shoal_agent.errors import DiskError, EnrolmentError
from shoal_agent.identity import (
    load_identity,
    load_or_make_key,
    make_signing_request,
)
from shoal_contract.device_signature import device_key_id
from shoal_contract.enrolment import EnrolmentPending


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "data" / "identity"


def paths(hub: HttpsHub) -> list[str]:
    return [path for path, _ in hub.requests]


def test_a_device_enrols_and_keeps_its_identity(hub: HttpsHub, authority: Authority, identity: Path) -> None:
    enrolled = enrol(identity, hub.url, f"  {authority.token}\n", "cam-7")

    assert (enrolled.device_id, enrolled.broker_host, enrolled.broker_port) == (DEVICE, "127.0.0.1", 8883)
    assert load_identity(identity).trust_root == hub.trust_root.encode()
    assert enrolled.api_url == hub.url
    assert enrolled.tls_context(Clock(None)).get_ca_certs()
    ((path, body),) = hub.requests[1:]
    assert path == "/api/v1/enrol"
    assert (body["token"], body["name"]) == (SECRET, "cam-7")
    assert body["hardware"]["cores"] >= 1
    assert body["encryption_key"] == load_or_make_encryption_key(identity).public_hex
    assert (identity / "encryption.pem").stat().st_mode & 0o777 == 0o600


def test_the_key_never_leaves_and_is_readable_by_its_owner_alone(
    hub: HttpsHub, authority: Authority, identity: Path
) -> None:
    enrol(identity, hub.url, authority.token)
    assert (identity / "device.pem").stat().st_mode & 0o777 == 0o600
    assert identity.stat().st_mode & 0o777 == 0o700
    assert "PRIVATE" not in json.dumps([body for _, body in hub.requests])


def test_the_signing_request_names_nobody(identity: Path) -> None:
    key = load_or_make_key(identity)
    request = x509.load_pem_x509_csr(make_signing_request(key).encode())
    assert list(request.subject) == []
    assert request.is_signature_valid
    assert load_or_make_key(identity).private_numbers() == key.private_numbers()


def test_a_hub_that_the_token_does_not_pin_gets_no_secret(hub: HttpsHub, identity: Path) -> None:
    with pytest.raises(EnrolmentError, match="the token pins") as refused:
        enrol(identity, hub.url, Authority("another hub").token)
    assert "not the hub that made the token" in refused.value.remedy
    assert paths(hub) == ["/api/v1/ca.pem"]


def test_somebody_in_between_who_shows_the_right_ca_gets_no_secret(
    tmp_path: Path, authority: Authority, identity: Path
) -> None:
    with (
        https_hub(tmp_path, Authority("mallory"), authority.pem) as mallory,
        pytest.raises(EnrolmentError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        enrol(identity, mallory.url, authority.token)
    assert paths(mallory) == ["/api/v1/ca.pem"]


def test_somebody_in_between_who_adds_his_own_ca_behind_the_right_one_gets_no_secret(
    tmp_path: Path, authority: Authority, identity: Path
) -> None:
    own = Authority("mallory")
    with (
        https_hub(tmp_path, own, authority.pem + own.pem) as mallory,
        pytest.raises(EnrolmentError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        enrol(identity, mallory.url, authority.token)
    assert paths(mallory) == ["/api/v1/ca.pem"]


def test_a_device_offers_an_encryption_key_whose_private_half_stays_here(
    hub: HttpsHub, authority: Authority, identity: Path
) -> None:
    enrol(identity, hub.url, authority.token)
    key = load_or_make_encryption_key(identity)
    assert hub.requests[-1][1]["encryption_key"] == key.public_hex
    assert (identity / "encryption.pem").stat().st_mode & 0o777 == 0o600


def test_a_device_without_a_token_pins_the_ca_by_its_fingerprint(
    hub: HttpsHub, authority: Authority, identity: Path
) -> None:
    pin = authority.token.split(".")[1]
    colons = ":".join(pin[at : at + 2] for at in range(0, 64, 2)).upper()
    assert enrol(identity, hub.url, ca_sha256=colons).device_id == DEVICE
    assert hub.requests[-1][1]["token"] == ""


def test_without_a_token_another_hub_is_not_asked_to_enrol(hub: HttpsHub, identity: Path) -> None:
    with pytest.raises(EnrolmentError, match="somebody is in between|fingerprint"):
        enrol(identity, hub.url, ca_sha256="a" * 64)
    assert paths(hub) == ["/api/v1/ca.pem"]


@pytest.mark.parametrize(
    ("token", "pin"), [("", ""), ("", "abc"), ("", "g" * 64), (f"shoal1.{'a' * 64}.{SECRET}", "b" * 64)]
)
def test_without_a_pin_or_with_two_nobody_is_asked(hub: HttpsHub, identity: Path, token: str, pin: str) -> None:
    with pytest.raises(EnrolmentError):
        enrol(identity, hub.url, token, ca_sha256=pin)
    assert hub.requests == []


def test_a_device_waits_for_an_operator_and_tells_its_fingerprint(
    hub: HttpsHub, authority: Authority, identity: Path
) -> None:
    hub.looks = 3
    told: list[EnrolmentPending] = []
    slept: list[float] = []
    waiting = Waiting(tell=told.append, sleep=slept.append, jitter=lambda: 0.5)
    enrolled = enrol(identity, hub.url, ca_sha256=authority.token.split(".")[1], waiting=waiting)
    assert enrolled.device_id == DEVICE
    assert {one.key_sha256 for one in told} == {device_key_id(load_or_make_key(identity).public_key())}
    assert (len(told), slept) == (3, [1.0, 1.0, 1.0])


def test_a_hub_that_is_away_while_a_device_waits_is_waited_for(
    hub: HttpsHub, authority: Authority, identity: Path
) -> None:
    hub.looks = 1

    def sleep(_seconds: float) -> None:
        hub.refusal = None if hub.refusal else (503, b"{}")

    enrolled = enrol(identity, hub.url, ca_sha256=authority.token.split(".")[1], waiting=Waiting(sleep=sleep))
    assert (enrolled.device_id, len(paths(hub))) == (DEVICE, 4)


def test_a_device_that_is_rejected_while_it_waits_stops_asking(
    hub: HttpsHub, authority: Authority, identity: Path
) -> None:
    hub.looks = 1

    def reject(_seconds: float) -> None:
        hub.refusal = (403, json.dumps({"error": {"code": "refused", "message": "rejected", "remedy": "ask"}}).encode())

    with pytest.raises(EnrolmentError, match="403: rejected"):
        enrol(identity, hub.url, ca_sha256=authority.token.split(".")[1], waiting=Waiting(sleep=reject))


def test_a_device_waits_no_longer_than_it_was_told(hub: HttpsHub, authority: Authority, identity: Path) -> None:
    hub.looks = 1000
    waiting = Waiting(most_s=10.0, sleep=lambda _: None)
    with pytest.raises(EnrolmentError, match="no operator has accepted"):
        enrol(identity, hub.url, ca_sha256=authority.token.split(".")[1], waiting=waiting)


def test_a_ca_of_several_is_found_by_its_pin_and_trusted_alone(
    tmp_path: Path, authority: Authority, identity: Path
) -> None:
    newer = Authority("newer")
    with https_hub(tmp_path, authority, newer.pem + authority.pem) as hub:
        assert enrol(identity, hub.url, authority.token).device_id == DEVICE


@pytest.mark.parametrize("renames", [False, True])
def test_a_power_cut_at_any_step_leaves_an_enrolled_device_or_one_that_enrols_with_the_same_key(
    hub: HttpsHub, authority: Authority, tmp_path: Path, renames: bool
) -> None:
    counting = FragileDisk()
    with counting.mounted():
        enrol(tmp_path / "counted", hub.url, authority.token)
    for cut_before in range(counting.steps):
        folder, disk = tmp_path / f"{cut_before}-{renames}", FragileDisk(cut_before)
        hub.requests.clear()
        with pytest.raises(PowerCutError), disk.mounted():
            enrol(folder, hub.url, authority.token)
        disk.lose_what_was_not_synced(renames=renames)
        enrol(folder, hub.url, authority.token).tls_context(Clock(None))
        asked = [body["csr_pem"] for _, body in hub.requests if body]
        keys = [x509.load_pem_x509_csr(pem.encode()).public_key().public_numbers() for pem in asked]  # type: ignore[union-attr]
        assert all(key == keys[0] for key in keys), cut_before


def test_an_enrolled_device_is_left_as_it_is(hub: HttpsHub, authority: Authority, identity: Path) -> None:
    enrol(identity, hub.url, authority.token)
    before = {path.name: path.read_bytes() for path in identity.iterdir()}
    hub.requests.clear()

    assert enrol(identity, "https://127.0.0.1:1", "no token").device_id == DEVICE

    assert hub.requests == []
    assert {path.name: path.read_bytes() for path in identity.iterdir()} == before


def test_the_hubs_reason_and_remedy_reach_the_person(hub: HttpsHub, authority: Authority, identity: Path) -> None:
    error = {
        "code": "token_used",
        "message": "this token was used",
        "remedy": "make another with `shoal tokens create`",
    }
    hub.refusal = (403, json.dumps({"error": error}).encode())
    with pytest.raises(EnrolmentError, match="403: this token was used") as refused:
        enrol(identity, hub.url, authority.token)
    assert refused.value.remedy == "make another with `shoal tokens create`"
    hub.refusal = None
    enrol(identity, hub.url, authority.token)  # and the next token works


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"\xff\xfe", b"[]", b'{"error": "text"}'])
def test_a_refusal_that_is_not_a_hubs_is_shown_as_it_is(
    hub: HttpsHub, authority: Authority, identity: Path, body: bytes
) -> None:
    hub.refusal = (502, body)
    with pytest.raises(EnrolmentError, match="the hub answered 502"):
        enrol(identity, hub.url, authority.token)


@pytest.mark.parametrize("answer", [b"{}", b"no json", b'{"device_id": "../../etc"}'])
def test_an_answer_of_another_form_enrols_nobody(
    hub: HttpsHub, authority: Authority, identity: Path, answer: bytes
) -> None:
    hub.answer = answer
    with pytest.raises(EnrolmentError, match="reading EnrolmentResponse"):
        enrol(identity, hub.url, authority.token)
    with pytest.raises(DiskError, match="not enrolled"):
        load_identity(identity)


def test_what_is_no_certificate_authority_is_said_so(hub: HttpsHub, authority: Authority, identity: Path) -> None:
    hub.ca_pem = "hello"
    with pytest.raises(EnrolmentError, match="no certificate found"):
        enrol(identity, hub.url, authority.token)


@pytest.mark.parametrize("token", ["", "shoal1.abc.def", "x" * 200, f"shoal1.{'g' * 64}.{SECRET}"])
def test_a_malformed_token_is_refused_before_anybody_is_asked(hub: HttpsHub, identity: Path, token: str) -> None:
    with pytest.raises(EnrolmentError, match="reading the token"):
        enrol(identity, hub.url, token)
    assert hub.requests == []


@pytest.mark.parametrize("url", ["http://hub:8443", "hub:8443", "https://", "https://hub:port", "https://[", ""])
def test_an_address_of_another_form_is_refused(authority: Authority, identity: Path, url: str) -> None:
    with pytest.raises(EnrolmentError, match="address") as refused:
        enrol(identity, url, authority.token)
    assert "--hub" in refused.value.remedy


def test_a_hub_that_does_not_answer_is_an_error_with_a_remedy(authority: Authority, identity: Path) -> None:
    with pytest.raises(EnrolmentError, match="refused") as failed:
        enrol(identity, "https://127.0.0.1:1", authority.token)
    assert "network" in failed.value.remedy


def test_a_name_that_is_too_long_is_refused_before_anybody_is_asked(
    hub: HttpsHub, authority: Authority, identity: Path
) -> None:
    with pytest.raises(EnrolmentError, match="name") as refused:
        enrol(identity, hub.url, authority.token, "n" * 65)
    assert "--name" in refused.value.remedy
    assert hub.requests == []


@pytest.mark.parametrize("name", ["hub.json", "device.pem", "ca.pem"])
@pytest.mark.parametrize("damage", [b"", b"damaged"])
def test_a_damaged_identity_is_said_so(
    hub: HttpsHub, authority: Authority, identity: Path, name: str, damage: bytes
) -> None:
    enrol(identity, hub.url, authority.token)
    (identity / name).write_bytes(damage)
    with pytest.raises(DiskError, match="reading the identity"):
        load_identity(identity).tls_context(Clock(None))


def test_a_damaged_key_is_said_so_when_it_should_enrol(authority: Authority, hub: HttpsHub, identity: Path) -> None:
    identity.mkdir(parents=True)
    (identity / "key.pem").write_bytes(b"damaged")
    with pytest.raises(DiskError, match="reading the identity"):
        enrol(identity, hub.url, authority.token)


def test_a_hub_whose_root_is_not_signed_by_its_own_keys_enrols_nobody(
    hub: HttpsHub, authority: Authority, identity: Path
) -> None:
    root = json.loads(hub.trust_root)
    root["signed"]["expires"] = "2099-01-01T00:00:00Z"
    for nonsense in (json.dumps(root), "{}", "no root"):
        hub.trust_root = nonsense
        with pytest.raises(EnrolmentError, match="TUF root"):
            enrol(identity, hub.url, authority.token)
    assert not (identity / "hub.json").exists()
