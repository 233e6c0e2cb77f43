"""Versions' keys at rest: the database alone opens none of them."""

import stat
from pathlib import Path

import pytest

from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.version_keys import VersionKeys

KEY = bytes(range(32))
FIRST = "version-keys-1.key"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.key"))


def test_a_key_opens_for_its_version_only_and_is_sealed_anew_each_time(tmp_path: Path) -> None:
    keys = VersionKeys.open(tmp_path)
    sealed = keys.seal(KEY, "digits version 1")
    assert VersionKeys.open(tmp_path).unseal(sealed, "digits version 1") == KEY
    assert KEY not in sealed
    assert keys.seal(KEY, "digits version 1") != sealed
    with pytest.raises(TrustError, match="opens it"):
        keys.unseal(sealed, "digits version 2")


def test_a_changed_or_foreign_seal_is_refused(tmp_path: Path) -> None:
    keys, other = VersionKeys.open(tmp_path / "a"), VersionKeys.open(tmp_path / "b")
    for sealed in (keys.seal(KEY, "v")[:-1], b"", bytes(60), other.seal(KEY, "v")):
        with pytest.raises(TrustError, match="none of the keys"):
            keys.unseal(sealed, "v")


def test_a_next_key_seals_at_once_in_every_process_and_the_last_one_still_opens(tmp_path: Path) -> None:
    keys, running = VersionKeys.open(tmp_path), VersionKeys.open(tmp_path)
    before = running.seal(KEY, "v")
    keys.begin_next()
    sealed = running.seal(KEY, "v")
    assert keys.unseal(before, "v") == running.unseal(sealed, "v") == KEY
    (tmp_path / FIRST).unlink()
    assert VersionKeys.open(tmp_path).unseal(sealed, "v") == KEY
    with pytest.raises(TrustError):
        running.unseal(before, "v")


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    keys = VersionKeys.open(tmp_path)
    for _ in range(10):
        keys.begin_next()
        keys.retire()
    assert names(tmp_path) == ["version-keys-10.key", "version-keys-11.key"]


def test_the_file_is_private_and_a_damaged_open_or_missing_one_is_refused(tmp_path: Path) -> None:
    keys = VersionKeys.open(tmp_path)
    path = tmp_path / FIRST
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(TrustError, match="open to others"):
        VersionKeys.open(tmp_path)
    path.chmod(0o600)
    path.write_text("damaged")
    with pytest.raises(TrustError, match="reading the key"):
        VersionKeys.open(tmp_path)
    path.unlink()
    with pytest.raises(TrustError, match="restore|no version-keys"):
        keys.seal(KEY, "v")
