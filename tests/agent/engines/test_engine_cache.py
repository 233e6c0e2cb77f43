"""TensorRT's engines are kept by board, runtime and model, and take no more of the disk than they may."""

import os
from pathlib import Path

import pytest

from shoal_agent.engines.engine_cache import EngineCache

OLD, MIDDLE, NEW = "a" * 64, "b" * 64, "c" * 64


def _fill(cache: EngineCache, sha256: str, size_bytes: int, used_s: float) -> Path:
    folder = cache.folder_for(sha256)
    assert folder is not None
    (folder / "engine").write_bytes(b"\0" * size_bytes)
    os.utime(folder, (used_s, used_s))
    return folder


def test_a_model_has_one_folder_for_each_board_and_runtime(tmp_path: Path) -> None:
    folders = {
        EngineCache(tmp_path, fits, 100).folder_for(sha256)
        for fits in ("orin 1.28", "orin 1.29")
        for sha256 in (OLD, NEW)
    }
    assert len(folders) == 4
    assert EngineCache(tmp_path, "orin 1.28", 100).folder_for(OLD) in folders
    assert all(folder is not None and folder.is_dir() and folder.stat().st_mode & 0o077 == 0 for folder in folders)


def test_the_longest_unused_go_first_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    earlier = EngineCache(tmp_path, "orin", 100)
    folders = [_fill(earlier, sha256, 40, used_s) for used_s, sha256 in enumerate((OLD, MIDDLE, NEW), start=1)]
    EngineCache(tmp_path, "orin", 100).prune()
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_what_this_process_uses_stays_whatever_it_takes(tmp_path: Path) -> None:
    earlier, now = EngineCache(tmp_path, "orin", 100), EngineCache(tmp_path, "orin", 100)
    folders = [_fill(earlier, sha256, 90, used_s) for used_s, sha256 in enumerate((OLD, NEW), start=1)]
    now.folder_for(OLD)
    os.utime(folders[0], (1, 1))
    now.prune()
    assert [folder.exists() for folder in folders] == [True, False]


def test_using_a_model_again_makes_it_the_last_to_go(tmp_path: Path) -> None:
    earlier = EngineCache(tmp_path, "orin", 100)
    folders = [_fill(earlier, sha256, 40, used_s) for used_s, sha256 in enumerate((OLD, MIDDLE, NEW), start=1)]
    earlier.folder_for(OLD)
    EngineCache(tmp_path, "orin", 100).prune()
    assert [folder.exists() for folder in folders] == [True, False, True]


def test_what_was_built_for_another_runtime_goes_at_once(tmp_path: Path) -> None:
    stale = _fill(EngineCache(tmp_path, "orin 1.28", 1000), OLD, 1, 1)
    current = EngineCache(tmp_path, "orin 1.29", 1000)
    kept = _fill(current, OLD, 1, 1)
    current.prune()
    assert (stale.exists(), kept.exists()) == (False, True)


def test_no_room_for_engines_means_no_folder(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache", "orin", 0)
    assert cache.folder_for(OLD) is None
    cache.prune()
    assert not (tmp_path / "cache").exists()


def test_a_disk_that_takes_no_folder_costs_the_cache_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("in the way")
    cache = EngineCache(tmp_path / "cache", "orin", 100)
    assert cache.folder_for(OLD) is None
    assert "built at each start" in caplog.text
    cache.prune()
