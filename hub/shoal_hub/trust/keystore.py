"""Private keys as files: PKCS #8 PEM, encrypted, 0600. One folder, one passphrase.

The hub's own passphrase is random, so the cheap derivation of PKCS #8 is enough for it; one that a person has typed is
stretched by scrypt (RFC 7914) first, with the key's name as salt. What TLS programs must read by themselves
(Mosquitto's listeners, uvicorn) stays plain: Mosquitto can open no encrypted key.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typing_extensions import Self

from shoal_hub.trust import files
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.files import PrivateKey
from shoal_hub.trust.passphrase import make_passphrase, passphrase_path, read_following, read_passphrase

_SCRYPT_COST: Final = 2**15
_SCRYPT_MEMORY_BYTES: Final = 64 * 2**20


class Keystore:
    """The encrypted keys of one folder, by name.

    Args:
        folder: Where `<name>.key` lie.
        passphrase: Opens all of them.
        is_typed: A person chose the passphrase.
        following: The passphrase that is taking its place: some keys are under it already.
    """

    def __init__(
        self, folder: Path, passphrase: bytes, *, is_typed: bool = False, following: bytes | None = None
    ) -> None:
        self.folder = folder
        self._passphrase = passphrase
        self._is_typed = is_typed
        self._following = following

    @classmethod
    def open(cls, folder: Path, environ: Mapping[str, str] = os.environ) -> Self:
        """Open a folder with the hub's passphrase; where there are no keys yet, the passphrase is made too.

        Raises:
            TrustError: There are keys and no passphrase to open them.
        """
        path = passphrase_path(environ)
        if not path.exists() and not any(folder.glob("*.key")):
            make_passphrase(path)
        return cls(folder, read_passphrase(path), following=read_following(path))

    def at(self, folder: Path) -> "Keystore":
        """Return the keys of another folder under the same passphrase."""
        return Keystore(folder, self._passphrase, is_typed=self._is_typed, following=self._following)

    def path(self, name: str) -> Path:
        """Return where a key lies."""
        return self.folder / f"{name}.key"

    def names(self) -> list[str]:
        """Return the names of the keys that are here."""
        return sorted(path.stem for path in self.folder.glob("*.key"))

    def password(self, name: str) -> bytes:
        """Return what a key's PEM is encrypted with."""
        if not self._is_typed:
            return self._passphrase
        return (
            hashlib.scrypt(
                self._passphrase, salt=name.encode(), n=_SCRYPT_COST, r=8, p=1, maxmem=_SCRYPT_MEMORY_BYTES, dklen=32
            )
            .hex()
            .encode()
        )

    def write(self, name: str, key: PrivateKey) -> None:
        """Write a key, encrypted, and replace an older one of this name."""
        encryption = serialization.BestAvailableEncryption(self.password(name))
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write_private(self.path(name), pem)

    def read_ec(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Read an EC key.

        Raises:
            TrustError: It is missing, damaged, of another kind, readable by others, or under another passphrase.
        """
        key = self._read(name)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise self._other_kind(name, "an EC key", key)
        return key

    def read_ed25519(self, name: str) -> ed25519.Ed25519PrivateKey:
        """Read an Ed25519 key.

        Raises:
            TrustError: See `read_ec`.
        """
        key = self._read(name)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise self._other_kind(name, "an Ed25519 key", key)
        return key

    def read_or_make(self, name: str) -> ed25519.Ed25519PrivateKey:
        """Read an Ed25519 key, made at first use.

        Raises:
            TrustError: See `read_ec`.
        """
        with files.locked(self.folder):
            if not self.path(name).exists():
                self.write(name, ed25519.Ed25519PrivateKey.generate())
            return self.read_ed25519(name)

    def erase(self, name: str) -> None:
        """Remove a key that nothing trusts any more."""
        self.path(name).unlink(missing_ok=True)

    def _read(self, name: str) -> object:
        path = self.path(name)
        try:
            return self._decrypt(name, files.read_private(path, "the key"))
        except (OSError, ValueError, TypeError) as error:  # TypeError: the key is not encrypted
            remedy = "give the passphrase that it was made with" if self._is_typed else files.RESTORE
            raise TrustError(f"reading the key {path}: {error}", remedy) from error

    def _decrypt(self, name: str, data: bytes) -> object:
        try:
            return serialization.load_pem_private_key(data, self.password(name))
        except ValueError:
            if self._following is None:
                raise
            return serialization.load_pem_private_key(data, self._following)

    def _other_kind(self, name: str, expected: str, key: object) -> TrustError:
        found = type(key).__name__
        return TrustError(f"reading the key {self.path(name)}: {expected} was expected, found {found}", files.RESTORE)
