"""Enrolment over HTTPS: the token's form, what the device asks for and what it gets.

A token is `shoal1.<CA fingerprint>.<secret>`: the fingerprint pins the hub's CA before anything secret is sent.
"""

import re
from typing import Annotated, Final

from pydantic import Field, SecretStr, StringConstraints
from pydantic.dataclasses import dataclass

from shoal_contract.errors import MessageError
from shoal_contract.ids import DeviceId
from shoal_contract.reported import Hardware
from shoal_contract.wire import WireMessage

_TOKEN: Final = re.compile(r"shoal1\.([0-9a-f]{64})\.([A-Za-z0-9_-]{32,64})")
PublicKeyHex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""An Ed25519 public key (RFC 8032) as 64 lower-case hexadecimal digits."""


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

    The hub makes the id: the CSR's subject stays empty.
    """

    token: str = Field(max_length=64, repr=False)
    csr_pem: str = Field(max_length=8192)
    name: str = Field(default="", max_length=64)
    hardware: Hardware


class EnrolmentResponse(WireMessage):
    """What an enrolled device keeps: its identity, where the broker is and which director keys it trusts."""

    device_id: DeviceId
    certificate_pem: str
    ca_pem: str
    broker_host: str
    broker_port: int = Field(ge=1, le=65_535)
    director_keys: dict[str, PublicKeyHex] = Field(min_length=1, max_length=16)
    """Keys by key id (`director-1`)."""
