"""Puts every encrypted key under a new passphrase. A crash at any point loses no key.

The new passphrase lies beside the former one until each key is under it, and while both are there, either opens a key.
Then it takes the former one's place in one step. Each stage is on the disk before the next begins.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization

from shoal_hub.trust import files
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.passphrase import following_path, make_passphrase, passphrase_path, read_passphrase

_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def rotate_passphrase(trust_dir: Path, environ: Mapping[str, str] = os.environ) -> tuple[Path, int]:
    """Make a new passphrase and encrypt all keys of a hub that does not run by it; one that was cut short is finished.

    Returns:
        Where the passphrase lies, and how many keys are under it.

    Raises:
        TrustError: The passphrase cannot be replaced where it lies, or does not open a key.
    """
    path = passphrase_path(environ)
    former, following = read_passphrase(path), following_path(path)
    try:
        make_passphrase(following)
        new = read_passphrase(following)
        keys = [key for key in sorted(trust_dir.rglob("*.key")) if key.read_bytes().startswith(_ENCRYPTED)]
        for key in keys:
            _encrypt_anew(key, former, new)
        following.replace(path)
        files.sync_folder(path.parent)
    except OSError as error:
        raise TrustError(
            f"replacing the passphrase {path}: {error.filename}: {error.strerror}",
            "if it is a credential of systemd or a read-only secret, run this with SHOAL_PASSPHRASE_FILE naming a copy "
            "that can be written, then put the copy's new content there; what was begun is finished by a next run",
        ) from error
    return path, len(keys)


def _encrypt_anew(path: Path, former: bytes, new: bytes) -> None:
    data = path.read_bytes()
    if _open(data, new) is not None:
        return  # an earlier run was cut short after it
    key = _open(data, former)
    if key is None:
        raise TrustError(f"encrypting the key {path} anew: the passphrase does not open it", files.RESTORE)
    encryption = serialization.BestAvailableEncryption(new)
    files.write_private(
        path, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


def _open(data: bytes, passphrase: bytes) -> files.PrivateKey | None:
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except ValueError:
        return None
    return key if isinstance(key, files.PrivateKey) else None
