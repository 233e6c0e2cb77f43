"""Enrolment over HTTPS: the token's form, what the device asks for and what it gets.

A token is `shoal1.<CA fingerprint>.<secret>`: the fingerprint pins the hub's CA before anything secret is sent.
"""

import re
from typing import Annotated, Final

from pydantic import Field, SecretStr, StringConstraints
from pydantic.dataclasses import dataclass

from shoal_contract.errors import MessageError
from shoal_contract.ids import DeviceId, Sha256
from shoal_contract.reported import Hardware
from shoal_contract.wire import UtcTime, WireMessage

_TOKEN: Final = re.compile(r"shoal1\.([0-9a-f]{64})\.([A-Za-z0-9_-]{32,64})")
PublicKeyHex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""An Ed25519 (RFC 8032) or X25519 (RFC 7748) public key as 64 lower-case hexadecimal digits."""


@dataclass(frozen=True)
class EnrolmentToken:
    """A one-time token: SHA-256 of the hub's CA certificate (DER) and a secret."""

    ca_sha256: str
    secret: SecretStr

    def to_text(self) -> str:
        """Return the token as a person passes it on."""
        return f"shoal1.{self.ca_sha256}.{self.secret.get_secret_value()}"


def parse_token(text: str) -> EnrolmentToken:
    """Read a token.

    Raises:
        MessageError: It is not a whole Shoal enrolment token.
    """
    match = _TOKEN.fullmatch(text.strip())
    if match is None:
        msg = "reading the token: expected shoal1.<fingerprint>.<secret>; copy it whole from `shoal tokens create`"
        raise MessageError(msg)
    return EnrolmentToken(match[1], SecretStr(match[2]))


class EnrolmentRequest(WireMessage):
    """What a device sends to `POST /api/v1/enrol`: `token` is the secret part of its enrolment token alone.

    The hub makes the id: the CSR's subject stays empty. Without a token the device's key must have been authorised, or
    an operator accepts it by hand.
    """

    token: str = Field(default="", max_length=64, repr=False)
    csr_pem: str = Field(max_length=8192)
    name: str = Field(default="", max_length=64)
    hardware: Hardware
    encryption_key: PublicKeyHex | None = None
    """X25519 (RFC 7748): what keys of encrypted versions are wrapped to; without it the device gets none of those."""


class EnrolmentPending(WireMessage):
    """The answer (202) to a device that waits for an operator: it asks again, with the same key."""

    key_sha256: Sha256
    """Of the device's public key, as the operator sees it beside the request."""
    retry_after_s: float = Field(ge=1, le=3600)


class EnrolmentResponse(WireMessage):
    """What an enrolled device keeps: its identity, where hub and broker are, and the TUF root that it trusts."""

    device_id: DeviceId
    certificate_pem: str
    ca_pem: str
    broker_host: str
    broker_port: int = Field(ge=1, le=65_535)
    director_keys: dict[str, PublicKeyHex] = Field(default_factory=dict, max_length=16)
    """Keys by key id (`director-1`)."""
    api_url: str = Field(default="", max_length=512)
    """Where the hub's API is, for renewals and for metadata where MQTT does not go."""
    trust_root: str = Field(default="", max_length=512_000)
    """TUF root metadata (JSON): the first thing that the device believes, and the only one for its own sake."""


class RenewalRequest(WireMessage):
    """What a device sends to `POST /api/v1/renew`, in an envelope signed by the key that it has so far."""

    device_id: DeviceId
    csr_pem: str = Field(max_length=8192)
    """For the next key; signed by it. The subject stays empty."""
    at: UtcTime
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")


class RenewalResponse(WireMessage):
    """The next certificate; the one so far stays good until the next has been used."""

    certificate_pem: str
    ca_pem: str
