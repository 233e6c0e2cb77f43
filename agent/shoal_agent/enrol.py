"""Enrolment: a CSR over HTTPS, with the hub's CA pinned by its fingerprint, which is in the token or given beside it.

The CA certificate is first read without trust, compared with the fingerprint, and from then on is the only one
trusted; nothing secret is sent before that. Without a token the device's key has been authorised at the hub, or the
device waits until an operator accepts it.
"""

import http.client
import math
import random
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pydantic import ValidationError

from shoal_agent.certificates import parse_certificates
from shoal_agent.clock import Clock
from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.errors import EnrolmentError, HubError, HubUnreachableError
from shoal_agent.hardware import detect
from shoal_agent.hub_api import API, call, refusal
from shoal_agent.identity import (
    MAX_IDENTITY_BYTES,
    Identity,
    load_identity,
    load_or_make_key,
    make_signing_request,
    save_identity,
)
from shoal_agent.tls import pinned_context
from shoal_agent.tuf.client import check_root
from shoal_agent.tuf.errors import TufError
from shoal_contract.enrolment import EnrolmentPending, EnrolmentRequest, EnrolmentResponse, parse_token
from shoal_contract.errors import MessageError
from shoal_contract.wire import parse_message

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_MAX_PENDING_BYTES: Final = 4096
_UNREACHABLE_S: Final = 30.0


@dataclass(frozen=True)
class Waiting:
    """How a device waits for an operator.

    Attributes:
        tell: Takes each answer of the hub that says to wait.
        most_s: How long to wait at most.
        sleep: Waits for some seconds.
        jitter: Uniform random number in [0, 1).
    """

    tell: Callable[[EnrolmentPending], None] = lambda _pending: None
    most_s: float = math.inf
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


def enrol(
    identity_dir: Path,
    hub_url: str,
    token_text: str = "",
    name: str = "",
    *,
    ca_sha256: str = "",
    waiting: Waiting | None = None,
) -> Identity:
    """Enrol this device and keep its identity; an enrolled device is left as it is.

    Args:
        identity_dir: `<data>/identity`.
        hub_url: The hub's address, such as `https://hub.example:8443`.
        token_text: A token from `shoal tokens create`; empty for a device whose key is authorised or accepted.
        name: A label for people; the id is made by the hub.
        ca_sha256: Fingerprint of the hub's CA, where there is no token to say it.
        waiting: How to wait for an operator.

    Raises:
        EnrolmentError: The token is malformed, the hub's CA is not the pinned one, the hub refused, or no operator
            decided in time.
    """
    if (identity_dir / "hub.json").exists():
        return load_identity(identity_dir)
    pin, secret = _pin(token_text, ca_sha256)
    request = _request(identity_dir, secret, name)
    try:
        context = pinned_context(_pinned_ca(hub_url, pin), Clock(None))
        answer = _ask(hub_url, context, request)
        if isinstance(answer, EnrolmentPending):
            answer = _wait(hub_url, context, request, answer, waiting or Waiting())
    except HubError as error:
        raise EnrolmentError(f"enrolling: {error}", error.remedy) from error
    return save_identity(identity_dir, answer.model_copy(update={"api_url": answer.api_url or hub_url}))


def _pin(token_text: str, ca_sha256: str) -> tuple[str, str]:
    """Return the CA's fingerprint and the token's secret, which is empty without a token."""
    pin = ca_sha256.strip().lower().replace(":", "")
    if pin and not _FINGERPRINT.fullmatch(pin):
        message = f"enrolling: {ca_sha256!r} is no fingerprint of a CA, 64 hexadecimal digits were expected"
        raise EnrolmentError(message, "copy it whole from `shoal trust ca status` at the hub")
    if not token_text.strip() and pin:
        return pin, ""
    try:
        token = parse_token(token_text)
    except MessageError as error:
        raise EnrolmentError(str(error), "give --token-file, or without a token --ca-sha256") from error
    if pin and pin != token.ca_sha256:
        message = f"enrolling: the token pins the CA {token.ca_sha256[:16]}…, --ca-sha256 is {pin[:16]}…"
        raise EnrolmentError(message, "one of the two is for another hub")
    return token.ca_sha256, token.secret.get_secret_value()


def _request(identity_dir: Path, secret: str, name: str) -> EnrolmentRequest:
    csr_pem = make_signing_request(load_or_make_key(identity_dir))
    try:
        return EnrolmentRequest(
            token=secret,
            csr_pem=csr_pem,
            name=name,
            hardware=detect(),
            encryption_key=load_or_make_encryption_key(identity_dir).public_hex,
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        message = f"enrolling: {first['loc'][0]}: {first['msg']}"
        raise EnrolmentError(message, "give a shorter name with --name") from error


def _pinned_ca(hub_url: str, pin: str) -> x509.Certificate:
    untrusting = ssl.create_default_context()
    untrusting.check_hostname = False
    untrusting.verify_mode = ssl.CERT_NONE
    answer = call(hub_url, "GET", f"{API}/ca.pem", untrusting)
    if answer.status != http.client.OK:
        raise refusal(hub_url, answer)
    try:
        certificates = parse_certificates(answer.body)
    except ValueError as error:
        message = f"reading the CA of {hub_url}: no certificate found"
        raise EnrolmentError(message, "check that the address is a Shoal hub's") from error
    found = {certificate.fingerprint(hashes.SHA256()).hex(): certificate for certificate in certificates}
    if pin not in found:
        shown = ", ".join(f"{one[:16]}…" for one in found)
        message = f"checking the CA of {hub_url}: fingerprint {shown} found, the token pins {pin[:16]}…"
        raise EnrolmentError(message, "this is not the hub that made the token, or somebody is in between")
    # That one alone: whoever sits in between could have added a certificate of his own behind it.
    return found[pin]


def _ask(hub_url: str, context: ssl.SSLContext, request: EnrolmentRequest) -> EnrolmentResponse | EnrolmentPending:
    answer = call(hub_url, "POST", f"{API}/enrol", context, request.to_bytes())
    try:
        if answer.status == http.client.ACCEPTED:
            return parse_message(EnrolmentPending, answer.body, _MAX_PENDING_BYTES)
        if answer.status == http.client.OK:
            response = parse_message(EnrolmentResponse, answer.body, MAX_IDENTITY_BYTES)
            check_root(response.trust_root.encode())
            return response
    except (MessageError, TufError) as error:
        message = f"enrolling at {hub_url}: {error}"
        raise EnrolmentError(message, "check that the address is a Shoal hub's") from error
    raise refusal(hub_url, answer)


def _wait(
    hub_url: str, context: ssl.SSLContext, request: EnrolmentRequest, pending: EnrolmentPending, waiting: Waiting
) -> EnrolmentResponse:
    """Ask again until an operator has decided; a hub that is away meanwhile is waited for as well."""
    waited_s, pause_s = 0.0, pending.retry_after_s
    waiting.tell(pending)
    while waited_s < waiting.most_s:
        pause_s *= 0.75 + 0.5 * waiting.jitter()
        waiting.sleep(pause_s)
        waited_s += pause_s
        try:
            answer = _ask(hub_url, context, request)
        except HubUnreachableError:
            pause_s = _UNREACHABLE_S
            continue
        if isinstance(answer, EnrolmentResponse):
            return answer
        pause_s = answer.retry_after_s
        waiting.tell(answer)
    message = f"enrolling at {hub_url}: no operator has accepted the key {pending.key_sha256} within {waited_s:.0f} s"
    raise EnrolmentError(message, "accept it at the hub (shoal devices pending), then enrol again")
