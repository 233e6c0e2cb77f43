"""Files: only the hub's own account can read them, and private keys are encrypted at rest."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from shoal_hub.doctor.check import Found, Patient, check, fail, ok, some, warn

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED"


@check("file modes")
def file_modes(patient: Patient) -> Found:
    """No file or folder of the data folder is open to others: 0600 and 0700."""
    data = patient.settings.data
    every = list(_tree(data))
    opened = [str(path) for path, status in every if status.st_mode & _OTHERS]
    if not opened:
        return ok(f"{len(every)} files and folders below {data}, all of them private")
    remedy = f"run: chmod -R go-rwx {data}"
    return fail(f"{len(opened)} are open to others: {some(opened)}", remedy)


@check("file owner")
def file_owner(patient: Patient) -> Found:
    """Every file belongs to the account that the folder belongs to."""
    data = patient.settings.data
    owner = data.stat().st_uid
    others = [str(path) for path, status in _tree(data) if status.st_uid != owner]
    if not others:
        return ok(f"all files belong to user {owner}")
    return fail(f"of other users than {owner}: {some(others)}", f"run: chown -R {owner} {data}")


@check("keys at rest")
def keys_at_rest(patient: Patient) -> Found:
    """Private keys are encrypted where they lie. Connection keys that Mosquitto and TLS read must be plain."""
    trust = patient.settings.data / "trust"
    signing = [path for path in sorted(trust.rglob("*.key")) if not _is_of_a_connection(path)]
    plain = [path.name for path in signing if not path.read_bytes().startswith(_ENCRYPTED)]
    if not plain:
        return ok("no signing key lies unencrypted in the trust folder")
    remedy = "encrypt them with a passphrase or keep them behind a signer; until then keep the disk encrypted"
    return warn(f"unencrypted signing keys: {some(plain)}", remedy)


def _is_of_a_connection(key: Path) -> bool:
    is_authority = key.stem.startswith("ca-") or key.stem.endswith("-ca")
    return key.with_suffix(".pem").exists() and not is_authority


def _tree(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    yield folder, folder.stat()
    for path in folder.rglob("*"):
        # Temporary files come and go while a hub runs; a link has no mode of its own.
        with suppress(FileNotFoundError):
            if not path.is_symlink():
                yield path, path.stat()
