"""What compression keeps on the hub's disk is bounded: the oldest goes first, and never what a job may be at."""

import os
from pathlib import Path

from shoal_hub.compression.kept import trim

NOW_S, HOUR_S = 1_000_000_000.0, 3600.0


def _put(folder: Path, size_bytes: int, hours_ago: float) -> Path:
    (folder / "within").mkdir(parents=True)
    (folder / "within" / "model.onnx").write_bytes(b"x" * size_bytes)
    for path in (folder / "within" / "model.onnx", folder / "within", folder):
        os.utime(path, (NOW_S - hours_ago * HOUR_S,) * 2)
    return folder


def test_the_oldest_goes_first_until_the_rest_fits(tmp_path: Path) -> None:
    old = _put(tmp_path / "recipes" / "a", 500_000, 30)
    middle = _put(tmp_path / "searches" / "b", 500_000, 20)
    new = _put(tmp_path / "recipes" / "c", 500_000, 10)
    assert trim(tmp_path, 1_200_000, now_s=NOW_S) >= 500_000
    assert [one.exists() for one in (old, middle, new)] == [False, True, True]
    assert trim(tmp_path, 1_200_000, now_s=NOW_S) == 0


def test_what_was_changed_lately_stays_whatever_it_takes(tmp_path: Path) -> None:
    search = _put(tmp_path / "searches" / "b", 500_000, 20)
    (search / "study.journal").write_text("running")
    os.utime(search / "study.journal", (NOW_S - HOUR_S,) * 2)
    assert trim(tmp_path, 0, now_s=NOW_S) == 0
    assert search.exists()


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert trim(tmp_path / "none", 0) == 0


def test_what_a_job_takes_away_meanwhile_is_passed_over(tmp_path: Path) -> None:
    folder = _put(tmp_path / "recipes" / "a", 100, 30)
    (folder / "gone").symlink_to(tmp_path / "gone")  # is found, and is not there
    assert trim(tmp_path, 1_000_000, now_s=NOW_S) == 0
    assert folder.exists()
