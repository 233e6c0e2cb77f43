"""The key that seals versions' keys for the database: a copy of the database alone opens no encrypted version.

`<trust>/version-keys.key`, 256 random bits, sealing with AES-256-GCM under random nonces: one a version.
"""

import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import Self

from shoal_hub.trust import files
from shoal_hub.trust.errors import TrustError

KEY_FILE: Final = "version-keys.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_RESTORE: Final = (
    "restore the trust folder from its backup; without one, register the encrypted versions again as new ones"
)


class VersionKeys:
    """Seals and opens versions' keys."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Read the key from `trust_dir`, or make it there.

        Raises:
            TrustError: The file is damaged or open to others.
        """
        path = trust_dir / KEY_FILE
        with files.locked(trust_dir):
            if not path.exists():
                files.write_private(path, secrets.token_hex(_KEY_BYTES).encode())
            return cls(_read(path))

    def seal(self, version_key: bytes, version: str) -> bytes:
        """Return a version's key as it is stored.

        Args:
            version_key: The version's key.
            version: Names the version; what is sealed opens under this name alone.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, version_key, version.encode())

    def unseal(self, sealed: bytes, version: str) -> bytes:
        """Return a version's key.

        Raises:
            TrustError: It was sealed by another key or for another version, or was changed.
        """
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], version.encode())
        except (InvalidTag, ValueError) as error:
            raise TrustError(f"opening the key of {version}: {KEY_FILE} does not open it", _RESTORE) from error


def _read(path: Path) -> bytes:
    try:
        mode, key = path.stat().st_mode, bytes.fromhex(path.read_text())
    except (OSError, ValueError) as error:
        raise TrustError(f"reading the key {path}: {error}", _RESTORE) from error
    if len(key) != _KEY_BYTES:
        raise TrustError(f"reading the key {path}: {len(key)} bytes found, {_KEY_BYTES} expected", _RESTORE)
    if mode & _OTHERS:
        found = stat.filemode(mode)
        raise TrustError(f"reading the key {path}: it is open to others ({found})", f"run: chmod 600 {path}")
    return key
