"""Enrolment: a one-time token and a CSR over HTTPS, with the hub's CA pinned by the token's fingerprint.

The CA certificate is first read without trust, compared with the fingerprint, and from then on is the only one
trusted; nothing secret is sent before that.
"""

import http.client
import json
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pydantic import ValidationError

from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.errors import EnrolmentError
from shoal_agent.hardware import detect
from shoal_agent.identity import (
    MAX_IDENTITY_BYTES,
    Identity,
    load_identity,
    load_or_make_key,
    make_signing_request,
    save_identity,
)
from shoal_contract.enrolment import EnrolmentRequest, EnrolmentResponse, EnrolmentToken, parse_token
from shoal_contract.errors import MessageError
from shoal_contract.wire import parse_message

TIMEOUT_S = 20.0
DEFAULT_PORT = 443
API = "/api/v1"


def enrol(identity_dir: Path, hub_url: str, token_text: str, name: str = "") -> Identity:
    """Enrol this device and keep its identity; an enrolled device is left as it is.

    Args:
        identity_dir: `<data>/identity`.
        hub_url: The hub's address, such as `https://hub.example:8443`.
        token_text: A token from `shoal tokens create`.
        name: A label for people; the id is made by the hub.

    Raises:
        EnrolmentError: The token is malformed, the hub's CA is not the pinned one, or the hub refused.
    """
    if (identity_dir / "hub.json").exists():
        return load_identity(identity_dir)
    try:
        token = parse_token(token_text)
    except MessageError as error:
        raise EnrolmentError(str(error)) from error
    request = _request(identity_dir, token, name)
    ca_pem = _pinned_ca(hub_url, token)
    context = ssl.create_default_context(cadata=ca_pem)
    body = _call(hub_url, "POST", f"{API}/enrol", context, request.to_bytes())
    try:
        response = parse_message(EnrolmentResponse, body, MAX_IDENTITY_BYTES)
    except MessageError as error:
        message = f"enrolling at {hub_url}: {error}"
        raise EnrolmentError(message, "check that the address is a Shoal hub's") from error
    return save_identity(identity_dir, response)


def _request(identity_dir: Path, token: EnrolmentToken, name: str) -> EnrolmentRequest:
    csr_pem = make_signing_request(load_or_make_key(identity_dir))
    try:
        return EnrolmentRequest(
            token=token.secret.get_secret_value(),
            csr_pem=csr_pem,
            name=name,
            hardware=detect(),
            encryption_key=load_or_make_encryption_key(identity_dir).public_hex,
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        message = f"enrolling: {first['loc'][0]}: {first['msg']}"
        raise EnrolmentError(message, "give a shorter name with --name") from error


def _pinned_ca(hub_url: str, token: EnrolmentToken) -> str:
    untrusting = ssl.create_default_context()
    untrusting.check_hostname = False
    untrusting.verify_mode = ssl.CERT_NONE
    pem = _call(hub_url, "GET", f"{API}/ca.pem", untrusting)
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        message = f"reading the CA of {hub_url}: no certificate found"
        raise EnrolmentError(message, "check that the address is a Shoal hub's") from error
    found = certificate.fingerprint(hashes.SHA256()).hex()
    if found != token.ca_sha256:
        message = (
            f"checking the CA of {hub_url}: fingerprint {found[:16]}… found, the token pins {token.ca_sha256[:16]}…"
        )
        raise EnrolmentError(message, "this is not the hub that made the token, or somebody is in between")
    # Not the bytes as they came: whoever sits in between could have added a certificate of his own behind this one.
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _call(hub_url: str, method: str, path: str, context: ssl.SSLContext, body: bytes | None = None) -> bytes:
    try:
        parts = urlsplit(hub_url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host = None
    if not host or parts.scheme != "https":
        message = f"enrolling at {hub_url!r}: an address like https://hub.example:8443 was expected"
        raise EnrolmentError(message, "give the hub's address with --hub")
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        content = response.read(MAX_IDENTITY_BYTES)
    except (OSError, http.client.HTTPException) as error:
        message = f"enrolling at {hub_url}: {error}"
        raise EnrolmentError(message, "check the hub's address, its port and the network") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise _refusal(hub_url, response.status, content)
    return content


def _refusal(hub_url: str, status: int, content: bytes) -> EnrolmentError:
    try:
        error = json.loads(content)["error"]
        text, remedy = str(error["message"]), str(error["remedy"])
    except (ValueError, KeyError, TypeError):
        text, remedy = content[:200].decode(errors="replace"), None
    return EnrolmentError(f"enrolling at {hub_url}: the hub answered {status}: {text}", remedy)
