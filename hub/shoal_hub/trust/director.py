"""The director's key: signs desired states (Ed25519 in DSSE envelopes).

Its number is the epoch. A rotation makes the next key; it signs from when the published targets metadata names it, and
the one before is erased. It is always a key of the keystore: a fleet's states are signed by the thousand, which no
hardware token and no service over the network does in time, and devices check Ed25519 here alone.
"""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from typing_extensions import Self

from shoal_contract import envelope
from shoal_contract.trust import director_role, epoch_of
from shoal_hub.trust.keystore import Keystore

_FIRST: Final = 1


class Director:
    """The one key that devices take orders from. `epoch` is its number and orders desired states."""

    def __init__(self, keys: Keystore, epoch: int, key: Ed25519PrivateKey) -> None:
        self._keys = keys
        self.epoch = epoch
        self._key = key

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Read the key in force from `trust_dir`, or make the first.

        Of two keys the lower is in force: the higher waits for `follow`, which erases the lower.

        Raises:
            TrustError: The file is damaged or open to others.
        """
        keys = Keystore.open(trust_dir)
        epoch = min(director_epochs(keys), default=_FIRST)
        return cls(keys, epoch, keys.read_or_make(director_role(epoch)))

    def follow(self, epoch: int) -> bool:
        """Take the key of `epoch` for the one in force, if it is a later one.

        Returns:
            Whether it is another key than before.

        Raises:
            TrustError: The key of that epoch is not here.
        """
        if epoch <= self.epoch:
            return False
        self._key = self._keys.read_ed25519(director_role(epoch))
        self.epoch = epoch
        for old in director_epochs(self._keys):
            if old < epoch:
                self._keys.erase(director_role(old))
        return True

    @property
    def key_id(self) -> str:
        """The key's id in envelopes, and the name of its role: `director-<epoch>`."""
        return director_role(self.epoch)

    @property
    def public_key_hex(self) -> str:
        """The public key, 64 hexadecimal digits."""
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return raw.hex()

    def sign(self, payload: bytes, payload_type: str) -> bytes:
        """Return a DSSE envelope (JSON) around `payload`."""
        return envelope.sign(payload, payload_type, self._key, self.key_id)


def director_epochs(keys: Keystore) -> list[int]:
    """Return the epochs whose keys are here."""
    return sorted(epoch for name in keys.names() if (epoch := epoch_of(name)) is not None)


def read_director_public_key(keys: Keystore, epoch: int) -> Ed25519PublicKey:
    """Return the public key of an epoch; the key is made where there is none.

    Raises:
        TrustError: Its file is damaged or open to others.
    """
    return keys.read_or_make(director_role(epoch)).public_key()
