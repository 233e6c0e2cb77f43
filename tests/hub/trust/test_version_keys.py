"""Versions' keys at rest: the database alone opens none of them."""

import stat
from pathlib import Path

import pytest

from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.version_keys import KEY_FILE, VersionKeys

KEY = bytes(range(32))


def test_a_key_opens_for_its_version_only_and_is_sealed_anew_each_time(tmp_path: Path) -> None:
    keys = VersionKeys.open(tmp_path)
    sealed = keys.seal(KEY, "digits version 1")
    assert VersionKeys.open(tmp_path).unseal(sealed, "digits version 1") == KEY
    assert KEY not in sealed
    assert keys.seal(KEY, "digits version 1") != sealed
    with pytest.raises(TrustError, match="does not open it"):
        keys.unseal(sealed, "digits version 2")


def test_a_changed_or_foreign_seal_is_refused(tmp_path: Path) -> None:
    keys, other = VersionKeys.open(tmp_path / "a"), VersionKeys.open(tmp_path / "b")
    for sealed in (keys.seal(KEY, "v")[:-1], b"", bytes(60), other.seal(KEY, "v")):
        with pytest.raises(TrustError, match="does not open it"):
            keys.unseal(sealed, "v")


def test_the_file_is_private_and_a_damaged_or_open_one_is_refused(tmp_path: Path) -> None:
    VersionKeys.open(tmp_path)
    path = tmp_path / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(TrustError, match="open to others"):
        VersionKeys.open(tmp_path)
    path.chmod(0o600)
    for content in ("", "00", "zz"):
        path.write_text(content)
        with pytest.raises(TrustError, match="reading the key"):
            VersionKeys.open(tmp_path)
