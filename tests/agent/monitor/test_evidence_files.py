"""Evidence of drift outlives the agent: whole or not at all, of the same baseline and settings, written seldom."""

import logging
from pathlib import Path

import numpy as np
import pytest
from tests.agent.monitor.test_weighing import BASELINE, EDGES, KEY, OTHER, WATCHED, window

from shoal_agent.monitor import evidence_files, weighing
from shoal_agent.monitor.answers import StreamKey
from shoal_agent.monitor.evidence_files import MOST_FILES, EvidenceFiles
from shoal_agent.monitor.weighing import Weighing
from shoal_contract.desired import DesiredConfig
from shoal_numerics.drift_evidence import EvidenceSettings

assert WATCHED is not None


class Clock:
    """Seconds that a test has in hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def begun(folder: Path, clock: Clock | None = None) -> Weighing:
    return Weighing(EvidenceFiles(folder), 900.0, clock or Clock())


def weigh(mine: Weighing, times: int, moved: int = 0, key: StreamKey = KEY, **more: EvidenceSettings) -> int:
    assert WATCHED is not None
    for _ in range(times):
        told = mine.weigh(key, WATCHED, window(moved, 2.0), **more)
    assert told is not None
    return told.windows


def test_an_agent_that_starts_again_goes_on_where_it_was_and_relearns_nothing(tmp_path: Path) -> None:
    first = begun(tmp_path)
    weigh(first, 60)
    weigh(first, 20, moved=2)
    assert first.drifted(KEY) == [0, 1]
    assert first.save(is_last=True) == 1
    second = begun(tmp_path)
    assert weigh(second, 1, moved=2) == 81
    assert second.drifted(KEY) == [0, 1]


def test_versions_are_kept_each_by_itself(tmp_path: Path) -> None:
    first = begun(tmp_path)
    weigh(first, 3)
    weigh(first, 5, key=OTHER)
    assert first.save(is_last=True) == 2
    second = begun(tmp_path)
    assert (weigh(second, 1), weigh(second, 1, key=OTHER)) == (4, 6)


def test_it_is_written_once_in_a_while_and_not_where_nothing_has_come(tmp_path: Path) -> None:
    clock = Clock()
    mine = begun(tmp_path, clock)
    saved = []
    for _ in range(180):  # a window every ten seconds, for half an hour
        weigh(mine, 1)
        clock.now_s += 10
        saved.append(mine.save())
    assert sum(saved) == 2
    assert mine.save(is_last=True) == 0 if saved[-1] else 1
    clock.now_s += 10_000
    assert mine.save() == mine.save(is_last=True) == 0


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "of another program", "far too large"])
def test_a_file_that_is_damaged_counts_for_nothing_and_that_is_said(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = begun(tmp_path)
    weigh(first, 40)
    first.save(is_last=True)
    [path] = tmp_path.iterdir()
    content = path.read_bytes()
    spoilt = {
        "cut": content[:-100],
        "changed": content[:-1] + bytes([content[-1] ^ 1]),
        "emptied": b"",
        "of another program": b"{}",
        "far too large": content + b"x" * evidence_files.MAX_FILE_BYTES,
    }
    path.write_bytes(spoilt[damage])
    second = begun(tmp_path)
    assert weigh(second, 1) == 1
    assert "begins anew" in caplog.text
    assert "damaged" in caplog.text


def test_evidence_of_another_baseline_or_other_settings_counts_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = begun(tmp_path)
    weigh(first, 40)
    first.save(is_last=True)
    strict = EvidenceSettings(tolerance=0.02)
    assert weigh(begun(tmp_path), 1, settings=strict) == 1
    assert "of another baseline, or of other settings" in caplog.text
    first.save(is_last=True)
    weigh(first, 1)
    first.save(is_last=True)
    assert WATCHED is not None
    feature, *others = BASELINE.features
    fewer = BASELINE.model_copy(
        update={"features": (feature.model_copy(update={"counts": feature.counts[::-1]}), *others)}
    )
    watched = weighing.watched_of(fewer, EDGES)
    if watched is not None and not np.array_equal(watched.expected, WATCHED.expected):
        told = begun(tmp_path).weigh(KEY, watched, window())
        assert told is not None
        assert told.windows == 1


def test_other_settings_begin_anew_while_it_runs_and_the_hub_is_told_how_long_is_learned() -> None:
    mine = Weighing()
    weigh(mine, 40)
    soon = weighing.settings_of(DesiredConfig(drift_warm_up_windows=16, drift_tolerance=0.1, drift_is_recentred=True))
    assert (soon.warm_up_windows, soon.tolerance, soon.is_recentred) == (16, 0.1, True)
    assert weigh(mine, 1, settings=soon) == 1
    told = mine.weigh(KEY, WATCHED, window(), soon)
    assert told is not None
    assert (told.windows, told.warm_up_windows) == (2, 16)
    assert weighing.settings_of(DesiredConfig()) == EvidenceSettings()


def test_files_are_bounded_the_oldest_go(tmp_path: Path) -> None:
    mine = begun(tmp_path)
    for version in range(1, MOST_FILES + 5):
        weigh(mine, 1, key=("pumps", version, "a" * 64))
        mine.save(is_last=True)
    assert len(list(tmp_path.iterdir())) == MOST_FILES
    later = begun(tmp_path)
    assert weigh(later, 1, key=("pumps", 1, "a" * 64)) == 1, "it was the oldest"
    assert weigh(later, 1, key=("pumps", MOST_FILES + 4, "a" * 64)) == 2


def test_a_disk_that_takes_nothing_stops_no_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evidence_files, "replace_file", full)
    mine = begun(tmp_path)
    weigh(mine, 1)
    with caplog.at_level(logging.WARNING):
        mine.save(is_last=True)
    assert "evidence of drift is not kept" in caplog.text
    assert weigh(mine, 1) == 2


def test_a_file_is_small(tmp_path: Path) -> None:
    mine = begun(tmp_path)
    weigh(mine, 40)
    mine.save(is_last=True)
    [path] = tmp_path.iterdir()
    assert path.stat().st_size <= 1000 * len(BASELINE.features)
