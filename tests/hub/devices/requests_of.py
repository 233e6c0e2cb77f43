"""What devices send: signing requests, right and wrong, enrolments and renewals."""

import ssl
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient
from httpx import Response

from shoal_contract.device_signature import device_key_id
from shoal_contract.enrolment import RenewalRequest, parse_token
from shoal_contract.envelope import RENEWAL_TYPE, sign
from shoal_hub.database import utc_now

HARDWARE = {"kind": "generic", "model": "test board", "architecture": "x86_64", "cores": 2, "memory_bytes": 2**30}
Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def fingerprint(key: Key) -> str:
    return device_key_id(key.public_key())


def make_csr(
    key: Any = None, subject: str = "", extension: x509.ExtensionType | None = None, *, is_broken: bool = False
) -> str:
    key = key or new_key()
    names = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    der = bytearray(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    if is_broken:
        der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()


def make_csr_for_the_key_of_another(victim: Key, attacker: Key) -> str:
    """Put the victim's public key into a request that the attacker has signed."""
    der = x509.load_pem_x509_csr(make_csr(attacker).encode()).public_bytes(serialization.Encoding.DER)
    form = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    forged = der.replace(attacker.public_key().public_bytes(*form), victim.public_key().public_bytes(*form))
    assert forged != der
    return x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM).decode()


def make_csr_of_version(version: int) -> str:
    """Write another version into a request than the one that there is, 0."""
    der = ssl.PEM_cert_to_DER_cert(make_csr().replace(" REQUEST", ""))
    pem = ssl.DER_cert_to_PEM_cert(der.replace(bytes([2, 1, 0]), bytes([2, 1, version]), 1))
    return pem.replace("CERTIFICATE", "CERTIFICATE REQUEST")


def new_token(client: TestClient, **body: Any) -> str:
    response = client.post("/api/v1/tokens", json=body)
    assert response.status_code == 201, response.text
    return parse_token(response.json()["token"]).secret.get_secret_value()


def ask(client: TestClient, token: str = "", csr: str | None = None, **more: Any) -> Response:
    body = {"token": token, "csr_pem": csr or make_csr(), "name": "kitchen", "hardware": HARDWARE, **more}
    return client.post("/api/v1/enrol", json=body)


def enrolled(client: TestClient, key: Key, **more: Any) -> str:
    """Enrol a device with a token; return its id."""
    response = ask(client, new_token(client), make_csr(key), **more)
    assert response.status_code == 200, response.text
    return str(response.json()["device_id"])


def renewal(device_id: str, present: Key, csr: str, at: datetime | None = None, **change: Any) -> bytes:
    """Return the envelope by which a device asks for its next certificate."""
    fields = {"device_id": device_id, "csr_pem": csr, "at": at or utc_now(), "nonce": "0" * 32, **change}
    return sign(RenewalRequest(**fields).to_bytes(), RENEWAL_TYPE, present, fingerprint(present))


def renew(client: TestClient, envelope: bytes) -> Response:
    return client.post("/api/v1/renew", content=envelope, headers={"content-type": "application/json"})


def certificate_of(response: Response) -> x509.Certificate:
    assert response.status_code == 200, response.text
    return x509.load_pem_x509_certificate(response.json()["certificate_pem"].encode())


def problem(response: Response, status: int) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["remedy"], "every refusal says what to do"
    return str(error["message"])
