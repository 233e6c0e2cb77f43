"""A device's envelope as bytes, around what was compressed before: about half of what DSSE's JSON takes on the wire.

The mark, the id of the key (32 bytes), the length of the signature (one byte), the signature, and what is signed up to
the end. The signature is DSSE's, over the type of the channel with `+zstd` and the compressed bytes, so that nothing is
decompressed that the device has not signed. A device sends this form only to a hub that has said that it reads it
(`Ack.reads_compact`).
"""

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from shoal_contract.device_signature import PAYLOAD_TYPES, SignedChannel
from shoal_contract.envelope import Verified, is_signed, signature_of
from shoal_contract.errors import EnvelopeError
from shoal_contract.limits import MAX_SIGNED_REPORT_BYTES

MARK: Final = b"\x01"
"""The first byte, by which it is told from JSON."""
_KEY_ID_BYTES: Final = 32
_HEAD_BYTES: Final = len(MARK) + _KEY_ID_BYTES + 1


def is_compact(envelope: bytes) -> bool:
    """Whether an envelope has this form."""
    return envelope.startswith(MARK)


def sign_compact(packed: bytes, channel: SignedChannel, key: ec.EllipticCurvePrivateKey, key_id: str) -> bytes:
    """Return the envelope of a message that was compressed.

    Args:
        packed: The message as one zstd frame that names its size.
        channel: Where it goes, `up/<channel>`.
        key: The device's.
        key_id: `device_key_id` of it.
    """
    signature = signature_of(packed, _type_of(channel), key)
    return b"%b%b%c%b%b" % (MARK, bytes.fromhex(key_id), len(signature), signature, packed)


def verify_compact(envelope: bytes, channel: SignedChannel, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> Verified:
    """Check an envelope that came on `up/<channel>` of the device whose keys these are; return what was compressed.

    Raises:
        EnvelopeError: It is too large, cut off, of another channel, or signed by none of these keys.
    """
    doing = "verifying a compact envelope"
    if len(envelope) > MAX_SIGNED_REPORT_BYTES:
        raise EnvelopeError(f"{doing}: {len(envelope)} bytes found, at most {MAX_SIGNED_REPORT_BYTES} allowed")
    end = _HEAD_BYTES + envelope[_HEAD_BYTES - 1] if len(envelope) > _HEAD_BYTES else 0
    if not is_compact(envelope) or not _HEAD_BYTES < end < len(envelope):
        raise EnvelopeError(f"{doing}: {len(envelope)} bytes found that are none, or are cut off")
    key_id = envelope[len(MARK) : _HEAD_BYTES - 1].hex()
    key, packed = keys.get(key_id), envelope[end:]
    if key is None or not is_signed(packed, _type_of(channel), envelope[_HEAD_BYTES:end], key):
        trusted = ", ".join(keys)
        raise EnvelopeError(f"{doing}: no valid signature by a trusted key (signed by {key_id}; trusted: {trusted})")
    return Verified(packed, key_id)


def _type_of(channel: SignedChannel) -> str:
    return f"{PAYLOAD_TYPES[channel]}+zstd"
