"""DSSE envelopes: a signature over a payload's exact bytes and its type.

Source: Dead Simple Signing Envelope v1.0 (github.com/secure-systems-lab/dsse). The hub signs with Ed25519 (RFC 8032),
a device with its identity's key: ECDSA over P-256 with SHA-256 (FIPS 186-5).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_contract.errors import EnvelopeError

SigningKey: TypeAlias = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
VerifyingKey: TypeAlias = Ed25519PublicKey | ec.EllipticCurvePublicKey

DESIRED_STATE_TYPE: Final = "application/vnd.shoal.desired-state+json"
RENEWAL_TYPE: Final = "application/vnd.shoal.renewal+json"
MAX_SIGNATURES: Final = 8
_MAX_CHARS: Final = 128
"""Of a key's id, a signature and a payload's type."""
_ECDSA: Final = ec.ECDSA(hashes.SHA256())


class Verified(NamedTuple):
    """A payload whose signature held, and the id of the key that signed it."""

    payload: bytes
    key_id: str


class _Signature(BaseModel):
    model_config = ConfigDict(frozen=True)
    keyid: str = Field(max_length=_MAX_CHARS)
    sig: str = Field(max_length=_MAX_CHARS)


class _Envelope(BaseModel):
    model_config = ConfigDict(frozen=True)
    payload: str
    payloadType: str = Field(max_length=_MAX_CHARS)  # noqa: N815 - the specification's name
    signatures: tuple[_Signature, ...] = Field(min_length=1, max_length=MAX_SIGNATURES)


def sign(payload: bytes, payload_type: str, key: SigningKey, key_id: str) -> bytes:
    """Return a DSSE envelope (JSON) around `payload`, signed by `key`.

    Raises:
        ValueError: The type or the key's id is longer than any reader takes.
    """
    if max(len(payload_type), len(key_id)) > _MAX_CHARS:
        msg = f"signing {payload_type!r} as {key_id!r}: at most {_MAX_CHARS} characters expected of each"
        raise ValueError(msg)
    signature = signature_of(payload, payload_type, key)
    return b'{"payload":"%b","payloadType":%b,"signatures":[{"keyid":%b,"sig":"%b"}]}' % (
        base64.b64encode(payload),
        _quoted(payload_type),
        _quoted(key_id),
        base64.b64encode(signature),
    )


def signature_of(payload: bytes, payload_type: str, key: SigningKey) -> bytes:
    """Return the signature of a payload and its type, as it stands in an envelope."""
    signed = _pre_authentication_encoding(payload_type, payload)
    return key.sign(signed) if isinstance(key, Ed25519PrivateKey) else key.sign(signed, _ECDSA)


def is_signed(payload: bytes, payload_type: str, signature: bytes, key: VerifyingKey) -> bool:
    """Whether a signature is of this payload and type, by this key."""
    return _holds(key, signature, _pre_authentication_encoding(payload_type, payload))


def verify(envelope: bytes, payload_type: str, keys: Mapping[str, VerifyingKey], max_bytes: int) -> Verified:
    """Check an envelope from the network and return the payload that was signed.

    Args:
        envelope: The received bytes.
        payload_type: The type that the reader expects; any other is refused.
        keys: Trusted keys by id.
        max_bytes: Bound on the envelope's size.

    Raises:
        EnvelopeError: Too large, malformed, of another type, or without a valid signature by one of `keys`.
    """
    parsed = _parse(envelope, max_bytes)
    if parsed.payloadType != payload_type:
        msg = f"verifying an envelope: type {parsed.payloadType!r} found, {payload_type!r} expected"
        raise EnvelopeError(msg)
    payload = _decode(parsed.payload)
    signed = _pre_authentication_encoding(payload_type, payload)
    for signature in parsed.signatures:
        key = keys.get(signature.keyid)
        if key is not None and _holds(key, _decode(signature.sig), signed):
            return Verified(payload, signature.keyid)
    found = ", ".join(signature.keyid for signature in parsed.signatures)
    msg = f"verifying an envelope: no valid signature by a trusted key (signed by {found}; trusted: {', '.join(keys)})"
    raise EnvelopeError(msg)


def named_keys(envelope: bytes, max_bytes: int) -> tuple[str, ...]:
    """Return the ids of the keys that an envelope says it is signed by; nothing of it has been verified.

    Raises:
        EnvelopeError: Too large or malformed.
    """
    return tuple(signature.keyid for signature in _parse(envelope, max_bytes).signatures)


def _quoted(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def _parse(envelope: bytes, max_bytes: int) -> _Envelope:
    if len(envelope) > max_bytes:
        msg = f"verifying an envelope: {len(envelope)} bytes found, at most {max_bytes} allowed"
        raise EnvelopeError(msg)
    try:
        return _Envelope.model_validate_json(envelope)
    except ValidationError as error:
        msg = f"verifying an envelope: not a DSSE envelope: {error.errors(include_url=False)[0]['msg']}"
        raise EnvelopeError(msg) from error


def _decode(text: str) -> bytes:
    try:
        decoded = base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        msg = "verifying an envelope: payload or signature is not base64"
        raise EnvelopeError(msg) from error
    # Other characters, spare bits of the last one, text after the padding: Python lets pass what differs from this.
    if base64.b64encode(decoded).decode() != text:
        msg = "verifying an envelope: payload or signature is not the canonical base64 of its bytes"
        raise EnvelopeError(msg)
    return decoded


def _holds(key: VerifyingKey, signature: bytes, signed: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(signature, signed, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
