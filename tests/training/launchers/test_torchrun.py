"""Training in several processes: they share the work, agree, and go on after one of them is killed."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.training.frameworks.trainers import blobs, changed

from shoal_training.errors import DataError, LaunchError
from shoal_training.frameworks.torch_trainer import Torch
from shoal_training.frameworks.trainer import History, TrainContext
from shoal_training.frameworks.trainers import BY_NAME
from shoal_training.launchers.job import JOB_FILE
from shoal_training.launchers.launcher import Local
from shoal_training.launchers.torchrun import JOB_FOLDER, Torchrun

pytestmark = pytest.mark.timeout(300)
SOURCE = (Path(__file__).parent / "counted.py").read_text()
ROWS, BATCH, EPOCHS = 240, 10, 4
STEPS = ROWS // (2 * BATCH)
"""Of an epoch, in each of two processes."""


def trainer(log: Path, **fields: Any) -> Torch:
    network = {"kind": "own", "build": "counted.py:build", "parameters": {"log": str(log)}}
    usual = {"network": network, "epochs": EPOCHS, "batch": BATCH, "checkpoint_steps": 4, "device": "cpu"}
    return Torch.model_validate(usual | fields)


def context(folder: Path, **fields: Any) -> TrainContext:
    usual = {"task": "classification", "classes": 3, "folder": folder, "seed": 5, "threads": 1}
    return TrainContext(**(usual | {"sources": {"counted.py": SOURCE}} | fields))


def done(log: Path, rank: int) -> int:
    """Return how many batches a process has learned from, over all its starts."""
    return (log / str(rank)).stat().st_size


@pytest.mark.slow
def test_a_killed_worker_costs_at_most_one_interval_and_no_difference(tmp_path: Path) -> None:
    logs = [tmp_path / name for name in ("whole", "killed")]
    for log in logs:
        log.mkdir()
    # Both have the network that notes into the same place by its fields, so only the place where they look differs.
    train, held_out = blobs(ROWS), blobs(60, seed=1)
    whole = Torchrun().fit(trainer(logs[0]), train, held_out, context(tmp_path / "a"))
    assert [done(logs[0], rank) for rank in (0, 1)] == [EPOCHS * STEPS] * 2
    killed: list[int] = []
    history = History()

    def kill(_stage: str, at: int, _total: int) -> None:
        if not killed and at >= STEPS + 4:  # the first checkpoint of the second epoch is there
            killed.append(int((tmp_path / "b" / JOB_FOLDER / "process-1").read_text()))
            os.kill(killed[0], signal.SIGKILL)

    asked = context(tmp_path / "b", progress=kill, metric=history)
    resumed = Torchrun(max_restarts=1).fit(trainer(logs[1]), train, held_out, asked)
    assert killed
    for rank in (0, 1):
        twice = done(logs[1], rank) - EPOCHS * STEPS
        assert 0 <= twice <= 4, "no more than one interval"
    np.testing.assert_array_equal(resumed.scores(train.x), whole.scores(train.x))
    assert [step for step, _ in history.points["held_out_accuracy"]] == [1, 2, 3, 4], "each epoch is told once"


@pytest.mark.slow
def test_two_processes_do_half_of_the_steps_each_and_agree(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    history, told = History(), list[int]()
    train, held_out = blobs(ROWS), blobs(61, seed=1)
    asked = context(tmp_path / "c", metric=history, progress=lambda _stage, at, _total: told.append(at))
    faster = {"optimizer": {"name": "adam", "learning_rate": 0.02}}
    fitted = Torchrun().fit(trainer(tmp_path / "log", **faster), train, held_out, asked)
    assert [done(tmp_path / "log", rank) for rank in (0, 1)] == [EPOCHS * STEPS] * 2
    assert (fitted.scores(held_out.x).argmax(axis=1) == held_out.y).mean() > 0.8
    assert history.points["held_out_accuracy"][-1][1] == pytest.approx(
        (fitted.scores(held_out.x).argmax(axis=1) == held_out.y).mean()
    ), "what the processes have measured together is what one measures"
    assert told == sorted(told) != []


@pytest.mark.slow
def test_what_a_worker_refuses_is_told_as_it_was_meant(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    train = blobs(ROWS)
    wrong = train.x.copy()
    wrong[7, 1] = np.nan
    with pytest.raises(DataError, match="row 7 has nan at 1"):
        Torchrun(processes=1, max_restarts=0).fit(
            trainer(tmp_path / "log"), changed(train, x=wrong), None, context(tmp_path / "d")
        )


@pytest.mark.slow
def test_a_process_that_always_dies_ends_the_training_with_its_log(tmp_path: Path) -> None:
    dying = "import os\ndef build(shape, outputs):\n    os.write(2, b'gone for good')\n    os._exit(7)\n"
    torch = Torch.model_validate({"network": "dying.py:build", "device": "cpu"})
    asked = context(tmp_path / "e", sources={"dying.py": dying})
    with pytest.raises(LaunchError, match=r"(?s)torchrun ended with code 1 after 0 restarts at most; .*workers.log"):
        Torchrun(processes=1, max_restarts=0).fit(torch, blobs(ROWS), None, asked)
    assert (tmp_path / "e" / JOB_FOLDER / JOB_FILE).is_file()
    assert "gone for good" in (tmp_path / "e" / JOB_FOLDER / "workers.log").read_text()


def test_trainers_that_run_alone_are_refused_before_anything_starts(tmp_path: Path) -> None:
    keras = BY_NAME["keras"].model_validate({})
    with pytest.raises(LaunchError, match="torchrun trains networks of PyTorch, not keras"):
        Torchrun().fit(keras, blobs(ROWS), None, context(tmp_path / "f"))
    assert not (tmp_path / "f").exists()


def test_here_is_where_training_runs_with_as_many_threads_as_asked_for(tmp_path: Path) -> None:
    import torch

    seen: list[int] = []
    asked = context(tmp_path / "g", progress=lambda *_: seen.append(torch.get_num_threads()))
    (tmp_path / "log").mkdir()
    before = torch.get_num_threads()
    Local(threads=2).fit(trainer(tmp_path / "log", epochs=1), blobs(40), None, asked)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before
