"""Signs what this device says, with the key of its identity: a broker can pass a message on, but not make one up."""

from cryptography.hazmat.primitives.asymmetric import ec

from shoal_contract.device_signature import SignedChannel, device_key_id, sign_up


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
