"""What a device signs of what it says: an envelope around each message of its `up/` channels, but for blob chunks.

A chunk needs no signature of its own: the blob's hash stands in a signed offer. The counters that make a repeated
message worthless are inside: (connection, sequence), or the place in the outbox.
"""

import hashlib
from collections.abc import Mapping
from typing import Final, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shoal_contract.envelope import Verified, sign, verify
from shoal_contract.limits import MAX_SIGNED_REPORT_BYTES
from shoal_contract.topics import UpMessageChannel

SignedChannel: TypeAlias = UpMessageChannel
PAYLOAD_TYPES: Final[Mapping[SignedChannel, str]] = {
    "presence": "application/vnd.shoal.presence+json",
    "reported": "application/vnd.shoal.reported+json",
    "telemetry": "application/vnd.shoal.telemetry+json",
    "event": "application/vnd.shoal.event+json",
    "windows": "application/vnd.shoal.windows+json",
    "events": "application/vnd.shoal.events+json",
}


def device_key_id(key: ec.EllipticCurvePublicKey) -> str:
    """Return the id of a device's key: SHA-256 of its SubjectPublicKeyInfo (DER), 64 hexadecimal digits."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def sign_up(payload: bytes, channel: SignedChannel, key: ec.EllipticCurvePrivateKey, key_id: str) -> bytes:
    """Return the envelope that goes to `up/<channel>`; `key_id` is `device_key_id` of the key."""
    return sign(payload, PAYLOAD_TYPES[channel], key, key_id)


def verify_up(envelope: bytes, channel: SignedChannel, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> Verified:
    """Check an envelope that came on `up/<channel>` of the device whose keys these are.

    Raises:
        EnvelopeError: It is too large, malformed, of another channel, or signed by none of these keys.
    """
    return verify(envelope, PAYLOAD_TYPES[channel], keys, MAX_SIGNED_REPORT_BYTES)
