"""A device's request for a part of an artifact over HTTPS: who asks, for what and when, signed by the device's key.

It travels in the header `Authorization: Shoal-Device <base64 of a DSSE envelope>`. Its time bounds how long a copy of
it is good for, and then for that artifact alone, which the device may have anyway.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from shoal_contract.envelope import sign, verify
from shoal_contract.errors import EnvelopeError
from shoal_contract.ids import DeviceId, Sha256
from shoal_contract.limits import MAX_DEVICE_REQUEST_BYTES
from shoal_contract.wire import UtcTime, WireMessage, parse_message

ARTIFACT_REQUEST_TYPE: Final = "application/vnd.shoal.artifact-request+json"
_SCHEME: Final = "Shoal-Device"


class ArtifactRequest(WireMessage):
    """What a device asks for; any range of it, and its chunks' list."""

    device_id: DeviceId
    sha256: Sha256
    at: UtcTime


def authorization_of(request: ArtifactRequest, key: ec.EllipticCurvePrivateKey, key_id: str) -> str:
    """Return the header's value; `key_id` is `device_key_id` of the key."""
    envelope = sign(request.to_bytes(), ARTIFACT_REQUEST_TYPE, key, key_id)
    return f"{_SCHEME} {base64.b64encode(envelope).decode()}"


def envelope_of(authorization: str) -> bytes:
    """Return the envelope in a header's value; nothing of it has been verified.

    Raises:
        EnvelopeError: It is of another scheme, too long, or no base64.
    """
    scheme, _, text = authorization.partition(" ")
    if scheme != _SCHEME or len(text) > MAX_DEVICE_REQUEST_BYTES:
        msg = f"reading the header Authorization: {scheme[:20]!r} and {len(text)} characters found, {_SCHEME} expected"
        raise EnvelopeError(msg)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        msg = "reading the header Authorization: it is no base64"
        raise EnvelopeError(msg) from error


def verify_request(envelope: bytes, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> ArtifactRequest:
    """Return what the device with these keys asks for.

    Raises:
        EnvelopeError: It is signed by none of the keys, or malformed.
        MessageError: What was signed is no such request.
    """
    payload = verify(envelope, ARTIFACT_REQUEST_TYPE, keys, MAX_DEVICE_REQUEST_BYTES).payload
    return parse_message(ArtifactRequest, payload, MAX_DEVICE_REQUEST_BYTES)
