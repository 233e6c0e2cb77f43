"""Enrolment over the API: who gets in, who does not, and what each is told."""

import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient
from httpx import Response
from sqlmodel import select

from shoal_contract.enrolment import EnrolmentResponse, parse_token
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device, EnrolmentTokenRow
from shoal_hub.errors import TooManyRequestsError
from shoal_hub.requests import RateLimit

HARDWARE = {"kind": "generic", "model": "test board", "architecture": "x86_64", "cores": 2, "memory_bytes": 2**30}


def make_csr(
    key: Any = None, subject: str = "", extension: x509.ExtensionType | None = None, *, is_broken: bool = False
) -> str:
    key = key or ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    der = bytearray(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    if is_broken:
        der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()


def new_token(client: TestClient, **body: Any) -> str:
    response = client.post("/api/v1/tokens", json=body)
    assert response.status_code == 201, response.text
    return parse_token(response.json()["token"]).secret.get_secret_value()


def ask(client: TestClient, token: str, csr: str | None = None, **more: Any) -> Response:
    body = {"token": token, "csr_pem": csr or make_csr(), "name": "kitchen", "hardware": HARDWARE, **more}
    return client.post("/api/v1/enrol", json=body)


def problem(response: Response, status: int) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["remedy"], "every refusal says what to do"
    return str(error["message"])


def test_a_device_with_a_token_gets_an_id_and_a_certificate_that_the_ca_signed(
    client: TestClient, hub: HubContext
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    response = ask(client, new_token(client), make_csr(key))
    answer = EnrolmentResponse.model_validate_json(response.content)
    certificate = x509.load_pem_x509_certificate(answer.certificate_pem.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(answer.ca_pem.encode()))
    assert certificate.subject.rfc4514_string() == f"CN={answer.device_id}"
    assert certificate.public_key() == key.public_key()
    assert (answer.broker_host, answer.broker_port) == ("hub.test", 8883)
    assert answer.director_keys == {hub.director.key_id: hub.director.public_key_hex}
    listed = client.get("/api/v1/devices").json()
    assert [(device["id"], device["name"], device["presence"]) for device in listed] == [
        (answer.device_id, "kitchen", "never")
    ]


def test_a_token_pins_the_ca_that_the_hub_serves(client: TestClient) -> None:
    token = parse_token(client.post("/api/v1/tokens", json={}).json()["token"])
    served = x509.load_pem_x509_certificate(client.get("/api/v1/ca.pem").content)
    assert served.fingerprint(hashes.SHA256()).hex() == token.ca_sha256


def test_the_same_request_again_gets_the_same_device(client: TestClient) -> None:
    token, key = new_token(client), ec.generate_private_key(ec.SECP256R1())
    first, second = ask(client, token, make_csr(key)).json(), ask(client, token, make_csr(key)).json()
    assert first["device_id"] == second["device_id"]
    assert len(client.get("/api/v1/devices").json()) == 1


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
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "no PEM"),
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
    tries = int(sqlite_hub.settings.enrol_per_minute) + 1
    answers = [ask(sqlite_client, "x" * 43, "hello") for _ in range(tries)]
    codes = [answer.status_code for answer in answers]
    assert codes[-1] == 429
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert set(codes[:-1]) == {422}
    assert sqlite_client.get("/api/v1/ca.pem").status_code == 200
