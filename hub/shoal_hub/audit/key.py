"""The key that signs the trail's anchors. It is a file beside the hub's other keys, never in the database."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from typing_extensions import Self

from shoal_contract import envelope
from shoal_hub.audit.chain import ANCHOR_TYPE, KEY_ID, Anchor
from shoal_hub.trust import files
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.keystore import Keystore

_NAME: Final = "audit"
PUBLIC_FILE: Final = "audit.pub"
"""What an auditor takes along: with it, an export and its anchors are checked without the hub."""
_RESTORE: Final = "start the hub: it writes the file beside its key"


class AuditKey:
    """Signs anchors (Ed25519 in DSSE envelopes)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Read the key from `trust_dir`, or make it there; its public half is kept beside it.

        Raises:
            TrustError: The file is damaged or open to others.
        """
        opened = cls(Keystore.open(trust_dir).read_or_make(_NAME))
        public = trust_dir / PUBLIC_FILE
        with files.locked(trust_dir):
            if not public.exists() or public.read_bytes() != opened.public_pem:
                files.write_private(public, opened.public_pem)
        return opened

    @property
    def public_pem(self) -> bytes:
        """The public half, as PEM."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, anchor: Anchor) -> bytes:
        """Return the anchor in its envelope: one line of JSON."""
        return envelope.sign(anchor.to_bytes(), ANCHOR_TYPE, self._key, KEY_ID)


def read_public_key(trust_dir: Path) -> Ed25519PublicKey:
    """Read the public half of the key.

    Raises:
        TrustError: It is missing or damaged.
    """
    path = trust_dir / PUBLIC_FILE
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrustError(f"reading the audit trail's public key {path}: {error}", _RESTORE) from error
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(f"reading the audit trail's public key {path}: an Ed25519 key was expected", _RESTORE)
    return key
