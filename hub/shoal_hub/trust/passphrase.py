"""The passphrase that opens the hub's keys. It lies outside of the data folder: a copy of that folder gives no key.

Where it is found, the first of: systemd's credential `shoal-passphrase`, the file in SHOAL_PASSPHRASE_FILE, and
`hub-passphrase` beside the CLI's profile, which the first start makes. A passphrase is never an argument or a
variable itself: both show in lists of processes.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shoal_client.profile import profile_path
from shoal_hub.trust import files
from shoal_hub.trust.errors import TrustError

CREDENTIAL: Final = "shoal-passphrase"
_RANDOM_BYTES: Final = 32
_SHORTEST: Final = 12


def passphrase_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the passphrase is, or will be."""
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (path := Path(credentials) / CREDENTIAL).exists():
        return path
    given = environ.get("SHOAL_PASSPHRASE_FILE")
    return Path(given).expanduser() if given else profile_path(environ).parent / "hub-passphrase"


def read_passphrase(path: Path) -> bytes:
    """Return the passphrase in a file, without the line's end.

    Raises:
        TrustError: It is missing, too short to protect anything, or open to others.
    """
    try:
        found = files.read_private(path, "the passphrase").rstrip(b"\r\n")
    except OSError as error:
        raise TrustError(
            f"reading the passphrase of the hub's keys: {path}: {error.strerror}",
            "restore it from where you keep it (it is in no copy of the data folder), or name its place in "
            "SHOAL_PASSPHRASE_FILE; without it the keys are lost",
        ) from error
    if len(found) < _SHORTEST:
        raise TrustError(
            f"reading the passphrase {path}: {len(found)} bytes found, at least {_SHORTEST} expected",
            "use a longer one",
        )
    return found


def following_path(path: Path) -> Path:
    """Return where the passphrase that takes the place of this one lies while keys are being encrypted anew."""
    return path.with_name(f"{path.name}.next")


def read_following(path: Path) -> bytes | None:
    """Return the passphrase that is taking the place of the one at `path`; None where there is no change.

    Raises:
        TrustError: See `read_passphrase`.
    """
    following = following_path(path)
    return read_passphrase(following) if following.exists() else None


def make_passphrase(path: Path) -> None:
    """Write a random passphrase, unless there is one."""
    with files.locked(path.parent):
        if not path.exists():
            files.write_private(path, secrets.token_urlsafe(_RANDOM_BYTES).encode() + b"\n")
