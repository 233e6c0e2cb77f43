"""The keys that seal versions' keys for the database: a copy of the database alone opens no encrypted version.

`<trust>/version-keys-<n>.key`, the newest of which seals, with AES-256-GCM under random nonces: one a version. They are
stored as the hub's other keys are, in the form of an Ed25519 key that signs nothing; HKDF makes the sealing key of it.
"""

import re
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typing_extensions import Self

from shoal_hub.trust import files
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.keystore import Keystore

_NAME: Final = re.compile(r"version-keys-([1-9]\d{0,8})")
_INFO: Final = b"shoal/1/sealed-version-keys"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KEPT: Final = 2
"""The newest, and the one before it: a key that was being sealed while they changed opens by that one."""
_RESTORE: Final = (
    "restore the trust folder from its backup; without one, register the encrypted versions again as new ones"
)


class VersionKeys:
    """Seals and opens versions' keys. A key that another process has made is seen at the next call."""

    def __init__(self, trust_dir: Path) -> None:
        self._dir = trust_dir
        self._store = Keystore.open(trust_dir)
        self._known: dict[int, AESGCM] = {}

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Open the keys in `trust_dir`; the first is made there.

        Raises:
            TrustError: A file is damaged or open to others.
        """
        keys = cls(trust_dir)
        with files.locked(trust_dir):
            if not keys._numbers():
                keys._make(1)
        keys._ciphers()
        return keys

    def seal(self, version_key: bytes, version: str) -> bytes:
        """Return a version's key as it is stored.

        Args:
            version_key: The version's key.
            version: Names the version; what is sealed opens under this name alone.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._ciphers()[0].encrypt(nonce, version_key, version.encode())

    def unseal(self, sealed: bytes, version: str) -> bytes:
        """Return a version's key.

        Raises:
            TrustError: It was sealed by a key that is not here or for another version, or was changed.
        """
        for cipher in self._ciphers():
            try:
                return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], version.encode())
            except (InvalidTag, ValueError):
                continue  # another of the keys may open it
        raise TrustError(f"opening the key of {version}: none of the keys in {self._dir} opens it", _RESTORE)

    def begin_next(self) -> None:
        """Make a further key, which seals from now on; what the others have sealed still opens."""
        with files.locked(self._dir):
            self._make(self._numbers()[0] + 1)

    def retire(self) -> None:
        """Erase the keys before the last two, once all has been sealed again."""
        with files.locked(self._dir):
            for number in self._numbers()[_KEPT:]:
                self._store.erase(_name(number))

    def _ciphers(self) -> list[AESGCM]:
        """Return what the keys in the folder seal with, the newest first."""
        numbers = self._numbers()
        for number in numbers:
            if number not in self._known:
                secret = self._store.read_ed25519(_name(number)).private_bytes_raw()
                self._known[number] = AESGCM(HKDF(SHA256(), _KEY_BYTES, salt=None, info=_INFO).derive(secret))
        if not numbers:
            raise TrustError(f"opening versions' keys: no version-keys-<n>.key in {self._dir}", _RESTORE)
        return [self._known[number] for number in numbers]

    def _numbers(self) -> list[int]:
        found = (_NAME.fullmatch(path.stem) for path in self._dir.glob("*.key"))
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def _make(self, number: int) -> None:
        self._store.write(_name(number), Ed25519PrivateKey.generate())


def _name(number: int) -> str:
    return f"version-keys-{number}"
