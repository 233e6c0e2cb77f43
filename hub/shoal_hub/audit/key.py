"""The keys that sign the trail's anchors: files of the keystore beside the hub's other keys, never in the database.

One signs at a time. After a rotation the former one is erased; its public half stays, so that what it has signed holds.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from typing_extensions import Self

from shoal_contract import envelope
from shoal_hub.audit.chain import ANCHOR_TYPE, Anchor, PublicKeys, key_id, read_public_keys
from shoal_hub.trust import files
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.keystore import Keystore

PUBLIC_FILE: Final = "audit.pub"
"""What an auditor takes along: with it, an export and its anchors are checked without the hub."""
_NAME: Final = re.compile(r"audit-([1-9][0-9]*)")
_WRITTEN_ANEW: Final = "start the hub: it writes the file beside its key"
_RESTORE: Final = "put back the copy of an auditor or of a backup: halves of keys that are erased are in no other file"


class AuditKey:
    """Signs anchors (Ed25519 in DSSE envelopes)."""

    def __init__(self, number: int, key: Ed25519PrivateKey) -> None:
        self.number = number
        self._key = key

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Read the key from `trust_dir`, or make it there; the public halves of all are kept beside it.

        Raises:
            TrustError: A file is damaged or open to others.
        """
        return cls._keep(trust_dir, max(newest_number(trust_dir), 1))

    @classmethod
    def rotate(cls, trust_dir: Path) -> Self:
        """Make the next key, which signs from now on, and erase the one before.

        Raises:
            TrustError: A file is damaged or open to others.
        """
        former = cls.open(trust_dir)
        following = cls._keep(trust_dir, former.number + 1)
        Keystore.open(trust_dir).erase(key_id(former.number))
        return following

    @classmethod
    def _keep(cls, trust_dir: Path, number: int) -> Self:
        opened = cls(number, Keystore.open(trust_dir).read_or_make(key_id(number)))
        path = trust_dir / PUBLIC_FILE
        with files.locked(trust_dir):
            # Of the first key alone nothing is lost with a damaged file; later, former halves would be.
            known = _public_keys(path) if number > 1 else _public_keys_or_none(path)
            if known.get(key_id(number)) != opened.public_key:
                known[key_id(number)] = opened.public_key
                files.write_private(path, to_pem(known[key_id(one)] for one in range(1, number + 1)))
        return opened

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The public half."""
        return self._key.public_key()

    def sign(self, anchor: Anchor) -> bytes:
        """Return the anchor in its envelope: one line of JSON."""
        return envelope.sign(anchor.to_bytes(), ANCHOR_TYPE, self._key, key_id(self.number))


def newest_number(trust_dir: Path) -> int:
    """Return the number of the key that signs, 0 before the first; a running signer follows a rotation by this."""
    names = (_NAME.fullmatch(path.stem) for path in trust_dir.glob("audit-*.key"))
    return max((int(name[1]) for name in names if name), default=0)


def to_pem(keys: Iterable[Ed25519PublicKey]) -> bytes:
    """Return public keys as PEM, one after the other, the first key first."""
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"".join(key.public_bytes(*form) for key in keys)


def read_public(trust_dir: Path) -> PublicKeys:
    """Read the public halves of all keys that have signed.

    Raises:
        TrustError: The file is missing or damaged.
    """
    return _public_keys(trust_dir / PUBLIC_FILE)


def _public_keys_or_none(path: Path) -> dict[str, Ed25519PublicKey]:
    try:
        return dict(read_public_keys(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _public_keys(path: Path) -> dict[str, Ed25519PublicKey]:
    try:
        return dict(read_public_keys(path.read_bytes()))
    except (OSError, ValueError) as error:
        remedy = _RESTORE if newest_number(path.parent) > 1 else _WRITTEN_ANEW
        raise TrustError(f"reading the audit trail's public keys {path}: {error}", remedy) from error
