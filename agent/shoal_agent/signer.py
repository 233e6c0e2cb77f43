"""Signs what this device says, with the key of its identity: a broker can pass a message on, but not make one up."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from shoal_contract.compact_envelope import sign_compact
from shoal_contract.device_signature import SignedChannel, device_key_id, sign_up

_LEVEL: Final = 3
"""Of zstd: a higher one takes many times as long, and a window has 3 bytes less."""


class DeviceSigner:
    """Puts each message of an `up/` channel into an envelope by the device's key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.use(key)

    def use(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Sign with `key` from now on: the identity was renewed."""
        self._key, self.key_id = key, device_key_id(key.public_key())

    def seal(self, channel: SignedChannel, message: bytes) -> bytes:
        """Return the envelope that goes to `up/<channel>`."""
        return sign_up(message, channel, self._key, self.key_id)

    def seal_compact(self, channel: SignedChannel, message: bytes) -> bytes:
        """Return the same in the compact form, which a hub reads that has said so."""
        from shoal_numerics import compressed  # zstd is not loaded before the first window has ended

        return sign_compact(compressed.compress(message, _LEVEL), channel, self._key, self.key_id)
