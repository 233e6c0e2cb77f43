"""A power cut at any step of a write leaves the old content or the new, and a finished write stays."""

import errno
import os
from pathlib import Path

import pytest
from tests.agent.simulators.power_cut import FragileDisk, PowerCutError

from shoal_agent.durable import replace_file

OLD, NEW = b"old content", b"new content, which is longer"


def _steps(folder: Path) -> int:
    with FragileDisk().mounted() as disk:
        replace_file(folder / "file", NEW)
    return disk.steps


@pytest.mark.parametrize("renames_are_lost", [True, False])
@pytest.mark.parametrize("before", [OLD, None])
def test_a_power_cut_at_any_step_leaves_the_old_content_or_the_new(
    tmp_path: Path, before: bytes | None, *, renames_are_lost: bool
) -> None:
    steps = _steps(tmp_path)
    assert steps >= 4
    for cut in range(steps):
        path = tmp_path / f"cut-{cut}" / "file"
        path.parent.mkdir()
        if before is not None:
            path.write_bytes(before)
        disk = FragileDisk(cut_before=cut)
        with disk.mounted(), pytest.raises(PowerCutError):
            replace_file(path, NEW)
        disk.lose_what_was_not_synced(renames=renames_are_lost)
        assert (path.read_bytes() if path.exists() else None) in {before, NEW}, f"cut before step {cut}"


def test_a_finished_write_survives_the_loss_of_all_that_was_not_synced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with FragileDisk().mounted() as disk:
        replace_file(path, NEW)
    disk.lose_what_was_not_synced(renames=True)
    assert path.read_bytes() == NEW


def test_a_full_disk_keeps_the_old_content_and_no_part_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, NEW)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    replace_file(tmp_path / "key.pem", b"secret")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
