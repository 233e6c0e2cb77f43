"""Enrolment over the API: who gets in, who does not, and what each is told."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.devices.requests_of import (
    HARDWARE,
    ask,
    certificate_of,
    make_csr,
    make_csr_for_the_key_of_another,
    make_csr_of_version,
    new_key,
    new_token,
    problem,
)

from shoal_contract.enrolment import EnrolmentResponse, parse_token
from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.certificates import DeviceCertificate
from shoal_hub.devices.enrolment_tokens import TokenTerms, create_token
from shoal_hub.devices.tables import Device, EnrolmentTokenRow
from shoal_hub.errors import TooManyRequestsError
from shoal_hub.requests import RateLimit


def test_a_device_with_a_token_gets_an_id_and_a_certificate_that_the_ca_signed(client: TestClient) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    response = ask(client, new_token(client), make_csr(key))
    answer = EnrolmentResponse.model_validate_json(response.content)
    certificate = x509.load_pem_x509_certificate(answer.certificate_pem.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(answer.ca_pem.encode()))
    assert certificate.subject.rfc4514_string() == f"CN={answer.device_id}"
    assert certificate.public_key() == key.public_key()
    assert (answer.broker_host, answer.broker_port) == ("hub.test", 8883)
    listed = client.get("/api/v1/devices").json()
    assert [(device["id"], device["name"], device["presence"]) for device in listed] == [
        (answer.device_id, "kitchen", "never")
    ]


def test_a_token_pins_the_ca_that_the_hub_serves(client: TestClient) -> None:
    token = parse_token(client.post("/api/v1/tokens", json={}).json()["token"])
    served = x509.load_pem_x509_certificate(client.get("/api/v1/ca.pem").content)
    assert served.fingerprint(hashes.SHA256()).hex() == token.ca_sha256


def test_the_same_request_again_gets_the_same_device_and_the_same_certificate(client: TestClient) -> None:
    token, key = new_token(client), new_key()
    first, second = ask(client, token, make_csr(key)), ask(client, token, make_csr(key))
    assert first.json()["device_id"] == second.json()["device_id"]
    assert certificate_of(first) == certificate_of(second)
    (device,) = client.get("/api/v1/devices").json()
    assert len(client.get(f"/api/v1/devices/{device['id']}").json()["certificates"]) == 1


def test_a_key_that_has_a_device_takes_no_use_of_another_token(client: TestClient) -> None:
    key, token = new_key(), new_token(client)
    first = ask(client, new_token(client), make_csr(key)).json()
    assert ask(client, token, make_csr(key)).json()["device_id"] == first["device_id"]
    assert ask(client, token).status_code == 200


def test_a_repetition_gets_no_new_certificate_when_its_own_has_ended_or_was_replaced(
    client: TestClient, hub: HubContext
) -> None:
    token, key = new_token(client), new_key()
    ask(client, token, make_csr(key))
    with hub.database.transaction() as session:
        row = session.exec(select(DeviceCertificate)).one()
        row.expires_at = utc_now()
        session.add(row)
    assert "certificate ended" in problem(ask(client, token, make_csr(key)), 403)
    with hub.database.transaction() as session:
        row = session.exec(select(DeviceCertificate)).one()
        row.retired_at = utc_now()
        session.add(row)
    assert "newer key" in problem(ask(client, token, make_csr(key)), 403)


def test_a_token_gives_its_group_and_tags_and_the_list_can_be_asked_for_them(client: TestClient) -> None:
    given = {"group": "greenhouse", "tags": {"site": "north"}}
    device_id = ask(client, new_token(client, **given)).json()["device_id"]
    ask(client, new_token(client))
    (found,) = client.get("/api/v1/devices", params={"group": "greenhouse"}).json()
    assert (found["id"], found["group"], found["tags"]) == (device_id, "greenhouse", {"site": "north"})
    assert found["certificate_expires_at"]
    assert len(client.get("/api/v1/devices").json()) == 2
    assert len(client.get("/api/v1/devices", params={"group": ""}).json()) == 1
    moved = client.patch(f"/api/v1/devices/{device_id}", json={"group": "shed"}).json()
    assert (moved["group"], moved["tags"]) == ("shed", {"site": "north"})


def test_the_encryption_key_is_kept(sqlite_client: TestClient) -> None:
    device_id = ask(sqlite_client, new_token(sqlite_client), encryption_key="a" * 64).json()["device_id"]
    assert sqlite_client.get(f"/api/v1/devices/{device_id}").json()["encryption_key"] == "a" * 64


def test_the_life_of_a_certificate_is_the_settings(sqlite_client: TestClient, sqlite_hub: HubContext) -> None:
    certificate = certificate_of(ask(sqlite_client, new_token(sqlite_client)))
    left = certificate.not_valid_after_utc - utc_now()
    assert abs(left.total_seconds() - sqlite_hub.settings.certificate_life_s) < 60


def test_a_device_learns_where_to_renew(sqlite_hub: HubContext) -> None:
    with TestClient(create_app(replace(sqlite_hub, api_url="https://hub.test:8443"))) as caller:
        with sqlite_hub.database.transaction() as session:
            pin = sqlite_hub.authority.fingerprint
            made = create_token(session, TokenTerms(), by="ada", ca_sha256=pin, now=utc_now())
        answer = ask(caller, parse_token(made.text).secret.get_secret_value()).json()
    assert answer["api_url"] == "https://hub.test:8443"


def test_a_used_token_enrols_no_other_key(client: TestClient) -> None:
    token = new_token(client)
    assert ask(client, token).status_code == 200
    assert "used already" in problem(ask(client, token), 403)


def test_a_token_for_two_enrols_two_and_no_third(client: TestClient) -> None:
    token = new_token(client, uses=2)
    assert [ask(client, token).status_code for _ in range(3)] == [200, 200, 403]


def test_an_unknown_token_is_refused(client: TestClient) -> None:
    assert "does not know" in problem(ask(client, "x" * 43), 403)


def test_an_expired_token_is_refused_with_the_time_of_its_end(client: TestClient, hub: HubContext) -> None:
    token = new_token(client)
    with hub.database.transaction() as session:
        row = session.exec(select(EnrolmentTokenRow)).one()
        row.expires_at = utc_now() - timedelta(seconds=1)
        session.add(row)
    assert "expired at" in problem(ask(client, token), 403)


def test_a_revoked_token_is_refused(client: TestClient) -> None:
    token = new_token(client)
    row = client.get("/api/v1/tokens").json()[0]
    assert client.delete(f"/api/v1/tokens/{row['id']}").json()["revoked_at"]
    assert "was revoked" in problem(ask(client, token), 403)


def test_a_revoked_device_does_not_come_back_by_repeating_its_request(client: TestClient, hub: HubContext) -> None:
    token, key = new_token(client), ec.generate_private_key(ec.SECP256R1())
    ask(client, token, make_csr(key))
    with hub.database.transaction() as session:
        device = session.exec(select(Device)).one()
        device.revoked_at = utc_now()
        session.add(device)
    assert "was revoked" in problem(ask(client, token, make_csr(key)), 403)


@pytest.mark.parametrize(
    ("csr", "found"),
    [
        (make_csr(subject="d-aaaaaaaaaaaaaaaa"), "asks for the name"),
        (make_csr(subject="hub-controller"), "asks for the name"),
        (make_csr(extension=x509.BasicConstraints(ca=True, path_length=0)), "asks for extensions"),
        (make_csr(extension=x509.SubjectAlternativeName([x509.DNSName("hub.test")])), "asks for extensions"),
        (make_csr(rsa.generate_private_key(65537, 2048)), "not P-256"),
        (make_csr(ec.generate_private_key(ec.SECP384R1())), "not P-256"),
        (make_csr(is_broken=True), "signature"),
        (make_csr_for_the_key_of_another(new_key(), new_key()), "signature"),
        (make_csr(extension=x509.SubjectAlternativeName([x509.DNSName("d-aaaaaaaaaaaaaaaa")])), "asks for extensions"),
        (make_csr(extension=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])), "asks for extensions"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "no PEM"),
        (make_csr_of_version(5), "no PEM"),
        ("hello", "no PEM"),
        ("é" * 100, "no PEM"),
    ],
)
def test_a_request_that_asks_for_more_than_a_device_gets_is_refused_and_takes_no_use(
    sqlite_client: TestClient, csr: str, found: str
) -> None:
    token = new_token(sqlite_client)
    assert found in problem(ask(sqlite_client, token, csr), 422)
    assert ask(sqlite_client, token).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a\x00b"},
        {"name": "x" * 65},
        {"token": "x" * 65},
        {"csr_pem": "x" * 8193},
        {"hardware": {**HARDWARE, "cores": 0}},
        {"hardware": None},
        {"schema_version": 2},
    ],
)
def test_a_malformed_enrolment_is_invalid_input_and_never_a_server_error(
    stranger: TestClient, change: dict[str, Any]
) -> None:
    body = {"token": "x" * 43, "csr_pem": make_csr(), "name": "", "hardware": HARDWARE, **change}
    problem(stranger.post("/api/v1/enrol", json=body), 422)


@pytest.mark.parametrize(
    "body",
    [
        {"uses": 0},
        {"uses": 10**9},
        {"expires_in_s": 0},
        {"expires_in_s": 10**12},
        {"label": "a\x00"},
        {"label": "\ud800"},
    ],
)
def test_a_token_without_sense_is_not_made(sqlite_client: TestClient, body: dict[str, Any]) -> None:
    problem(sqlite_client.post("/api/v1/tokens", content=json.dumps(body)), 422)


def test_a_token_that_nobody_has_cannot_be_revoked(sqlite_client: TestClient) -> None:
    assert "no enrolment token" in problem(sqlite_client.delete("/api/v1/tokens/et-none"), 404)


def test_secrets_are_not_in_the_database(client: TestClient, hub: HubContext) -> None:
    secret = new_token(client)
    with hub.database.session() as session:
        row = session.exec(select(EnrolmentTokenRow)).one()
    assert secret not in row.model_dump_json()


def test_unknown_used_and_guessed_tokens_look_the_same_to_who_does_not_have_the_secret(
    sqlite_client: TestClient,
) -> None:
    used = new_token(sqlite_client)
    ask(sqlite_client, used)
    wrong = [ask(sqlite_client, secret).json()["error"] for secret in ("x" * 43, used.swapcase(), used[1:] + used[0])]
    assert len({json.dumps(one) for one in wrong}) == 1


def test_guessing_is_bounded_for_an_address_before_the_token_is_looked_at(
    sqlite_client: TestClient, sqlite_hub: HubContext
) -> None:
    token, bound = new_token(sqlite_client), int(sqlite_hub.settings.wrong_tokens_per_minute)
    for _ in range(bound):
        assert "does not know" in problem(ask(sqlite_client, "x" * 43), 403)
    assert "unknown enrolment tokens" in problem(ask(sqlite_client, "y" * 43), 429)
    assert "unknown enrolment tokens" in problem(ask(sqlite_client, token), 429)
    assert sqlite_client.get("/api/v1/tokens").json()[0]["uses_left"] == 1


def test_an_address_that_asks_too_often_waits() -> None:
    now = 0.0
    limit = RateLimit(3, "enrolments", "SHOAL_X", clock=lambda: now)
    for _ in range(3):
        limit.take("10.0.0.1", "10.0.0.1")
    with pytest.raises(TooManyRequestsError, match=r"10\.0\.0\.1") as refused:
        limit.take("10.0.0.1", "10.0.0.1")
    assert refused.value.retry_after == "20"
    limit.take("10.0.0.2", "10.0.0.2")
    now = 20.0
    limit.take("10.0.0.1", "10.0.0.1")
    with pytest.raises(TooManyRequestsError):
        limit.take("10.0.0.1", "10.0.0.1")


def test_a_rate_limit_remembers_no_more_addresses_than_it_has_room_for() -> None:
    limit = RateLimit(3, "enrolments", "SHOAL_X")
    for number in range(10_100):
        limit.take(str(number), str(number))
    assert len(limit._buckets) == 10_000


def test_enrolment_is_limited_and_says_so(sqlite_client: TestClient, sqlite_hub: HubContext) -> None:
    allowed = int(sqlite_hub.settings.enrol_per_minute)
    answers = [ask(sqlite_client, "x" * 43, "hello") for _ in range(allowed)]
    while answers[-1].status_code != 429 and len(answers) < 4 * allowed:  # on a slow machine some more are allowed
        answers.append(ask(sqlite_client, "x" * 43, "hello"))
    codes = [answer.status_code for answer in answers]
    assert codes[-1] == 429
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert set(codes[:-1]) == {422}
    assert sqlite_client.get("/api/v1/ca.pem").status_code == 200


def test_a_device_tells_its_encryption_key_once_and_a_repeated_request_replaces_none(
    client: TestClient, hub: HubContext
) -> None:
    token, csr = new_token(client), make_csr()
    first, other = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", "09" + "00" * 31
    for key, kept in ((None, None), (first, first), (other, first), (None, first)):
        device_id = ask(client, token, csr, encryption_key=key).json()["device_id"]
        with hub.database.session() as session:
            assert session.get_one(Device, device_id).encryption_key == kept


def test_an_encryption_key_that_keeps_no_secret_is_refused_and_takes_no_use(client: TestClient) -> None:
    token = new_token(client)
    assert "X25519" in problem(ask(client, token, encryption_key="00" * 32), 422)
    problem(ask(client, token, encryption_key="no key"), 422)
    assert ask(client, token).status_code == 200
