"""A search on Ray: tasks share the trials of one study, and one that is killed is replaced."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.training.ray_head import RayHead
from tests.training.tuning.test_search import DEPTHS, samples, work_of

from shoal_training.launchers.ray_cluster import Share
from shoal_training.tuning.ray_crew import RayTasks
from shoal_training.tuning.search import search

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NETWORK = {"network": {"kind": "mlp", "hidden": [8]}, "epochs": 6, "batch": 16, "device": "cpu"}


def test_tasks_share_the_trials_and_one_that_is_killed_is_replaced(cluster: RayHead, tmp_path: Path) -> None:
    work = work_of({"space": DEPTHS, "trials": 6, "workers": 2})
    told: list[int] = []
    killed: list[int] = []

    def progress(_stage: str, done: int, _total: int) -> None:
        told.append(done)
        if done and not killed:
            killed.append(int((tmp_path / "process-1").read_text()))
            os.kill(killed[0], signal.SIGKILL)

    study = search(work, samples(1), samples(2, 40), tmp_path, progress, RayTasks(Share(address=cluster.address)))
    assert killed
    assert len([one for one in study.study.get_trials() if one.state.name == "COMPLETE"]) == 6
    assert told == sorted(told)
    assert told[-1] == 6


def test_what_fares_worse_is_pruned_by_what_all_tasks_have_told(cluster: RayHead, tmp_path: Path) -> None:
    from shoal_training.frameworks.trainers import BY_NAME

    torch: Any = BY_NAME["torch"].model_validate(NETWORK)
    space = {"optimizer.learning_rate": {"low": 1e-6, "high": 0.1, "log": True}}
    work = work_of({"space": space, "trials": 16, "workers": 2}, torch)
    study = search(
        work, samples(1), samples(2, 40), tmp_path, lambda *_: None, RayTasks(Share(address=cluster.address))
    )
    states = [one.state.name for one in study.study.get_trials()]
    assert states.count("PRUNED") >= 1
    assert states.count("PRUNED") + states.count("COMPLETE") == 16
