"""Enrolment: the token's secret goes to the hub that made it and to nobody else; the key stays here."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from tests.agent.simulators.director import DEVICE
from tests.agent.simulators.https_hub import SECRET, Authority, HttpsHub, https_hub

from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.enrol import enrol
from shoal_agent.errors import DiskError, EnrolmentError
from shoal_agent.identity import load_identity, load_or_make_key, make_signing_request


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def hub(tmp_path: Path, authority: Authority) -> Iterator[HttpsHub]:
    with https_hub(tmp_path, authority) as serving:
        yield serving


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "data" / "identity"


def paths(hub: HttpsHub) -> list[str]:
    return [path for path, _ in hub.requests]


def test_a_device_enrols_and_keeps_its_identity(hub: HttpsHub, authority: Authority, identity: Path) -> None:
    enrolled = enrol(identity, hub.url, f"  {authority.token}\n", "cam-7")

    assert (enrolled.device_id, enrolled.broker_host, enrolled.broker_port) == (DEVICE, "127.0.0.1", 8883)
    assert load_identity(identity).director_keys.keys() == {"director-1"}
    assert enrolled.tls_context().get_ca_certs()
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
    assert (identity / "key.pem").stat().st_mode & 0o777 == 0o600
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


@pytest.mark.parametrize("name", ["hub.json", "key.pem", "certificate.pem", "ca.pem"])
@pytest.mark.parametrize("damage", [b"", b"damaged"])
def test_a_damaged_identity_is_said_so(
    hub: HttpsHub, authority: Authority, identity: Path, name: str, damage: bytes
) -> None:
    enrol(identity, hub.url, authority.token)
    (identity / name).write_bytes(damage)
    with pytest.raises(DiskError, match="reading the identity"):
        load_identity(identity).tls_context()


def test_a_damaged_key_is_said_so_when_it_should_enrol(authority: Authority, hub: HttpsHub, identity: Path) -> None:
    identity.mkdir(parents=True)
    (identity / "key.pem").write_bytes(b"damaged")
    with pytest.raises(DiskError, match="reading the identity"):
        enrol(identity, hub.url, authority.token)
