"""A search is bounded in time, whoever does its trials and however late they begin."""

import json
import time
from pathlib import Path

import pytest
from tests.training.tuning.test_search import DEPTHS, samples, work_of

from shoal_training.errors import LaunchError
from shoal_training.launchers.ray_cluster import Share
from shoal_training.tuning.ray_crew import CALL_FILE, RayTasks
from shoal_training.tuning.worker import do_trials


def test_a_worker_that_begins_after_the_search_s_time_does_no_trial(tmp_path: Path) -> None:
    work_of({"space": DEPTHS, "trials": 2, "workers": 2}).write(tmp_path, samples(1), samples(2, 40))
    ended: list[bool] = []
    do_trials(tmp_path, 0, time.time() - 0.001, lambda: ended.append(True))
    assert not ended
    do_trials(tmp_path, 0, time.time() + 60, lambda: ended.append(True))
    assert len(ended) == 2


def test_tuning_on_a_ray_without_room_ends_after_the_launcher_s_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_training.tuning.ray_crew.DRIVER", "tests.training.tuning.waiting_driver")
    asked_s = time.time()
    with pytest.raises(LaunchError, match="tuning on Ray: it was not finished after 0.5 s"):
        RayTasks(Share(), timeout_s=0.5).run(tmp_path, [0, 1], 60.0, lambda: None)
    call = json.loads((tmp_path / CALL_FILE).read_text())
    assert 60 <= call["until_s"] - asked_s < 70
