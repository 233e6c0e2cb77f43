"""Replaces the device's encryption key: all stored keys of versions go over to the new one in one journaled step.

`<data>/identity/encryption.next` holds the new key, and the stored keys wrapped for it. Once it is durable the step has
happened; until it is gone again, whoever starts carries it to its end. Only then is the old key erased. It holds no
slots: those may have changed since, as an agent whose disk is full serves without carrying it to its end.
"""

from collections.abc import Callable
from logging import getLogger
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.capture.store import CaptureStore
from shoal_agent.clock import system_clock
from shoal_agent.durable import replace_file, sync_folder
from shoal_agent.encryption_key import (
    KEY_FILE,
    EncryptionKey,
    load_or_make_encryption_key,
    new_encryption_key,
    parse_encryption_key,
)
from shoal_agent.errors import DiskError
from shoal_agent.slots import SlotFile, Slots, known_models, open_slot_file
from shoal_contract.encryption import WrappedKey
from shoal_contract.ids import Name

_log = getLogger(__name__)
_JOURNAL = "encryption.next"
Tell = Callable[[str], None]
"""Queues the new public key (hex) for the hub, durably; may be called twice with the same."""


class _Journal(BaseModel):
    """What holds after the step: the device's key, and the versions' keys by model and version."""

    model_config = ConfigDict(frozen=True)

    key_pem: str
    keys: dict[Name, dict[int, WrappedKey]]


def rotate_encryption_key(data_dir: Path, device_id: str, tell: Tell) -> EncryptionKey:
    """Make a new key, take every stored key of a version over to it, erase the old one; return the new one.

    Captured samples are opened by either key from before the step on. The caller holds the data folder: no agent runs
    on it.

    Raises:
        DiskError: The disk does not take it; the key that was stays, unless the step had happened, which the next
            start then carries to its end.
    """
    old = take_up_encryption_key(data_dir, device_id, tell)
    new = new_encryption_key(device_id)
    models = data_dir / "models"
    keys = {name: _wrapped_keys(SlotFile(models, name).slots, name, old, new) for name in known_models(models)}
    journal = _Journal(key_pem=new.to_pem().decode(), keys=keys)
    CaptureStore(data_dir / "capture", system_clock).take_over(old, new)
    _write(data_dir / "identity" / _JOURNAL, journal.model_dump_json(exclude_none=True).encode())
    return take_up_encryption_key(data_dir, device_id, tell)


def take_up_encryption_key(data_dir: Path, device_id: str, tell: Tell) -> EncryptionKey:
    """Carry a replacement that was cut off to its end, then return the device's key; one that is made now is told.

    Raises:
        DiskError: The key is damaged, or the disk does not take what has to be written.
    """
    identity = data_dir / "identity"
    journal = _read(identity / _JOURNAL)
    if journal is not None:
        key = parse_encryption_key(journal.key_pem.encode(), device_id, identity / _JOURNAL)
        for name, keys in journal.keys.items():
            file = open_slot_file(data_dir / "models", name)
            file.put(file.slots.with_keys(keys))
        _write(identity / KEY_FILE, key.to_pem())
        tell(key.public_hex)
        _erase(identity / _JOURNAL)
        return key
    is_new = not (identity / KEY_FILE).exists()
    key = load_or_make_encryption_key(identity, device_id)
    if is_new:
        tell(key.public_hex)
    return key


def _wrapped_keys(slots: Slots, name: str, old: EncryptionKey, new: EncryptionKey) -> dict[int, WrappedKey]:
    held = ((slot.version, slot.key) for slot in slots.held() if slot.key is not None)
    return {version: old.wrap_for(new, key, name, version) for version, key in held}


def _read(path: Path) -> _Journal | None:
    try:
        return _Journal.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValidationError as error:
        # It was renamed into place whole: this is a damaged disk. The key that was and the slots may still serve.
        aside = path.replace(path.with_name(f"{path.name}.damaged"))
        _log.error("replacing the encryption key: %s is damaged and was put aside as %s: %s", path, aside, error)
        return None
    except OSError as error:
        raise DiskError(f"reading {path}: {error}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise DiskError(f"replacing the encryption key: writing {path}: {error}", "free some disk space") from error


def _erase(path: Path) -> None:
    try:
        path.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise DiskError(f"replacing the encryption key: deleting {path}: {error}") from error
