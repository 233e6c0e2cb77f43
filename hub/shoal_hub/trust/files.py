"""Key and certificate files: private (0600), whole or absent, and made by one process only."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from shoal_hub.trust.errors import TrustError

PRIVATE_UMASK: Final = 0o077
"""Of every process of the hub: whatever it or a library makes is the hub's alone."""
_PRIVATE_MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
RESTORE: Final = (
    "restore the trust folder and the passphrase that belongs to it from their backups; without one, start with an "
    "empty data folder and enrol again"
)

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two processes that start at once do not both make a key."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, and replace an older one in one step that outlives a power cut.

    A key is written before metadata names it, so it has to be on the disk when the database's transaction is.
    """
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk know what was replaced in a folder: a power cut does not bring the former files back."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_key(path: Path, key: PrivateKey) -> None:
    """Write a private key as plain PKCS #8 PEM, for the programs that cannot open an encrypted one."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(path, pem)


def write_certificate(path: Path, *chain: x509.Certificate) -> None:
    """Write a certificate as PEM, and those behind it that lead to one that is trusted."""
    write_private(path, b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))


def read_ec_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a P-256 private key.

    Raises:
        TrustError: The file is damaged, of another kind, or readable by others.
    """
    key = _read_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"reading the key {path}: an EC key was expected, found {type(key).__name__}", RESTORE)
    return key


def read_certificate(path: Path) -> x509.Certificate:
    """Read a PEM certificate.

    Raises:
        TrustError: The file is missing or damaged.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrustError(f"reading the certificate {path}: {error}", RESTORE) from error


def read_private(path: Path, what: str) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        TrustError: It is open to others; `what` names its content.
        OSError: It is missing, or not to be read.
    """
    data, mode = path.read_bytes(), path.stat().st_mode
    if mode & _OTHERS:
        raise TrustError(
            f"reading {what} {path}: it is open to others ({stat.filemode(mode)})", f"run: chmod 600 {path}"
        )
    return data


def _read_key(path: Path) -> object:
    try:
        key: object = serialization.load_pem_private_key(read_private(path, "the key"), password=None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: the key is encrypted
        raise TrustError(f"reading the key {path}: {error}", RESTORE) from error
    return key
