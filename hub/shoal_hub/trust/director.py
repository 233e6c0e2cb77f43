"""The director's key: signs desired states, and for now version manifests (Ed25519 in DSSE envelopes)."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import Self

from shoal_contract import envelope
from shoal_hub.trust import files

_NUMBER: Final = 1


class Director:
    """The one key that devices take orders from. `epoch` is its number and orders desired states."""

    key_id = f"director-{_NUMBER}"
    epoch = _NUMBER

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Read the key from `trust_dir`, or make it there.

        Raises:
            TrustError: The file is damaged or open to others.
        """
        path = trust_dir / f"{cls.key_id}.key"
        with files.locked(trust_dir):
            if not path.exists():
                files.write_key(path, Ed25519PrivateKey.generate())
            return cls(files.read_ed25519_key(path))

    @property
    def public_key_hex(self) -> str:
        """The public key, 64 hexadecimal digits, as devices get it at enrolment."""
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return raw.hex()

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """Return a DSSE envelope (JSON) around `payload`."""
        return envelope.sign(payload, payload_type, self._key, self.key_id)
