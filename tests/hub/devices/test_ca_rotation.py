"""The change of the devices' CA over the API: what is published, who is counted, and when it is refused."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from fastapi.testclient import TestClient
from tests.hub.devices.requests_of import (
    ask,
    certificate_of,
    enrolled,
    fingerprint,
    make_csr,
    new_key,
    problem,
    renew,
    renewal,
)

from shoal_contract.enrolment import parse_token
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import CA_BUNDLE_TARGET
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.certificates import retire_older

CA = "/api/v1/trust/ca"


def post(client: TestClient, name: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"{CA}/{name}", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def served(client: TestClient) -> set[str]:
    pem = client.get("/api/v1/ca.pem").content
    return {one.fingerprint(hashes.SHA256()).hex() for one in x509.load_pem_x509_certificates(pem)}


def listed(hub: HubContext) -> str:
    """Return the hash of the bundle that devices are told to trust."""
    with hub.database.session() as session:
        return str(hub.trust.reading(session).targets().targets[CA_BUNDLE_TARGET].hashes["sha256"])


def test_the_bundle_is_listed_for_devices_when_it_changes(client: TestClient, hub: HubContext) -> None:
    for step, certificates in (("announce", 2), ("switch", 2), ("finish", 1)):
        post(client, step)
        bundle = hub.authority.certificate_pem
        assert bundle.count("BEGIN CERTIFICATE") == certificates
        if step != "switch":  # the order of the two changes, what is trusted does not
            assert listed(hub) == sha256_hex(bundle.encode())


def test_devices_are_counted_until_they_use_a_certificate_by_the_new_ca(client: TestClient, hub: HubContext) -> None:
    present, following = new_key(), new_key()
    device_id = enrolled(client, present)
    post(client, "announce")
    assert post(client, "switch")["devices_left"] == 1
    refused = client.post(f"{CA}/finish", json={})
    assert "1 devices have a certificate by it" in problem(refused, 409)

    renew(client, renewal(device_id, present, make_csr(following)))
    assert client.get(CA).json()["devices_left"] == 1, "the old one still stands"
    with hub.database.transaction() as session:
        retire_older(session, device_id, fingerprint(following), utc_now())
    assert client.get(CA).json()["devices_left"] == 0
    assert post(client, "finish")["phase"] == "steady"


def test_a_device_that_was_left_behind_by_force_renews_all_the_same(client: TestClient, hub: HubContext) -> None:
    present = new_key()
    device_id = enrolled(client, present)
    post(client, "announce")
    post(client, "switch")
    post(client, "finish", force=True)
    certificate = certificate_of(renew(client, renewal(device_id, present, make_csr(new_key()))))
    certificate.verify_directly_issued_by(hub.authority.issuer.certificate)


def test_a_token_of_before_finds_its_ca_until_the_end_and_new_ones_pin_the_ca_that_signs(client: TestClient) -> None:
    before = parse_token(client.post("/api/v1/tokens", json={}).json()["token"])
    post(client, "announce")
    assert parse_token(client.post("/api/v1/tokens", json={}).json()["token"]).ca_sha256 == before.ca_sha256
    status = post(client, "switch")
    after = parse_token(client.post("/api/v1/tokens", json={}).json()["token"])
    assert after.ca_sha256 == status["issuing"] != before.ca_sha256
    assert served(client) == {before.ca_sha256, after.ca_sha256}
    assert ask(client, before.secret.get_secret_value()).status_code == 200
    assert "1 enrolment tokens pin it" in problem(client.post(f"{CA}/finish", json={}), 409)
    for token in client.get("/api/v1/tokens").json():
        client.delete(f"/api/v1/tokens/{token['id']}")
    post(client, "finish", force=True)
    assert served(client) == {after.ca_sha256}


@pytest.mark.parametrize("name", ["switch", "finish"])
def test_a_step_out_of_order_is_a_conflict_with_a_remedy(sqlite_client: TestClient, name: str) -> None:
    problem(sqlite_client.post(f"{CA}/{name}", json={"force": True}), 409)
    assert sqlite_client.get(CA).json()["phase"] == "steady"
