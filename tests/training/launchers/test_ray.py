"""Training on Ray: the same model as here, errors as themselves, and a worker that is killed costs an interval."""

import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tests.training.frameworks.trainers import blobs, changed
from tests.training.launchers.test_torchrun import BATCH, EPOCHS, ROWS, STEPS, context, done, trainer
from tests.training.ray_head import RayHead

from shoal_training.errors import DataError, LaunchError
from shoal_training.frameworks.scikit_learn import ScikitLearn
from shoal_training.frameworks.trainer import History
from shoal_training.frameworks.trainers import BY_NAME
from shoal_training.launchers.launcher import Local
from shoal_training.launchers.ray import JOB_FOLDER, Ray
from shoal_training.launchers.torchrun import Torchrun

pytestmark = pytest.mark.timeout(300)
FOREST = ScikitLearn(algorithm="random_forest", parameters={"n_estimators": 5})


@pytest.mark.slow
def test_one_worker_trains_what_this_process_would(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    train, held_out = blobs(ROWS), blobs(60, seed=1)
    asked = context(tmp_path / "a", progress=lambda _stage, at, total: told.append((at, total)))
    found = Ray().fit(FOREST, train, held_out, asked)
    here = Local(threads=1).fit(FOREST, train, held_out, context(tmp_path / "b"))
    np.testing.assert_array_equal(found.scores(held_out.x), here.scores(held_out.x))
    assert told == [(0, 1), (1, 1)]


@pytest.mark.slow
def test_a_killed_worker_of_two_costs_at_most_one_interval_and_no_difference(tmp_path: Path) -> None:
    logs = [tmp_path / name for name in ("whole", "killed")]
    for log in logs:
        log.mkdir()
    train, held_out = blobs(ROWS), blobs(60, seed=1)
    whole = Torchrun().fit(trainer(logs[0]), train, held_out, context(tmp_path / "a"))
    killed: list[int] = []
    history = History()

    def kill(_stage: str, at: int, _total: int) -> None:
        if not killed and at >= STEPS + 4:  # the first checkpoint of the second epoch is there
            killed.append(int((tmp_path / "b" / JOB_FOLDER / "process-1").read_text()))
            os.kill(killed[0], signal.SIGKILL)

    asked = context(tmp_path / "b", progress=kill, metric=history)
    resumed = Ray(workers=2, retries=1).fit(trainer(logs[1]), train, held_out, asked)
    assert killed
    for rank in (0, 1):
        twice = done(logs[1], rank) - EPOCHS * STEPS
        assert 0 <= twice <= 4, "no more than one interval"
    np.testing.assert_array_equal(resumed.scores(train.x), whole.scores(train.x))
    assert [step for step, _ in history.points["held_out_accuracy"]] == [1, 2, 3, 4], "each epoch is told once"
    assert resumed.facts["processes"] == 2


@pytest.mark.slow
def test_a_cluster_that_is_there_trains_as_well_and_stays(cluster: RayHead, tmp_path: Path) -> None:
    train, held_out = blobs(ROWS), blobs(60, seed=1)
    trees = BY_NAME["xgboost"].model_validate({"rounds": 4})
    here = Local(threads=1).fit(trees, train, held_out, context(tmp_path / "here"))
    for name in ("first", "second"):
        history = History()
        found = Ray(address=cluster.address).fit(trees, train, held_out, context(tmp_path / name, metric=history))
        np.testing.assert_array_equal(found.scores(held_out.x), here.scores(held_out.x))
        assert [step for step, _ in history.points["train_loss"]] == [1, 2, 3, 4]


@pytest.mark.slow
def test_what_a_worker_refuses_is_told_as_it_was_meant(cluster: RayHead, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    train = blobs(ROWS)
    wrong = train.x.copy()
    wrong[7, 1] = np.nan
    for workers in (1, 2):
        with pytest.raises(DataError, match="row 7 has nan at 1"):
            Ray(address=cluster.address, workers=workers).fit(
                trainer(tmp_path / "log"), changed(train, x=wrong), None, context(tmp_path / f"w{workers}")
            )


@pytest.mark.slow
def test_a_task_that_is_killed_goes_on_and_one_that_always_dies_ends_the_training(
    cluster: RayHead, tmp_path: Path
) -> None:
    (tmp_path / "log").mkdir()
    killed: list[int] = []

    def kill(_stage: str, _at: int, _total: int) -> None:
        if not killed:
            killed.append(int((tmp_path / "a" / JOB_FOLDER / "process-0").read_text()))
            os.kill(killed[0], signal.SIGKILL)

    asked = context(tmp_path / "a", progress=kill)
    Ray(address=cluster.address, retries=1).fit(trainer(tmp_path / "log"), blobs(ROWS), None, asked)
    assert killed
    assert int((tmp_path / "a" / JOB_FOLDER / "process-0").read_text()) != killed[0]
    steps = EPOCHS * ROWS // BATCH
    assert steps <= (tmp_path / "log" / "alone").stat().st_size <= steps + 4, "no more than one interval was lost"
    dying = "import os\ndef build(shape, outputs):\n    os._exit(7)\n"
    torch = BY_NAME["torch"].model_validate({"network": "dying.py:build", "device": "cpu"})
    asked = context(tmp_path / "b", sources={"dying.py": dying})
    with pytest.raises(LaunchError, match="training with 1 workers of Ray, started again 0 times at most"):
        Ray(address=cluster.address, retries=0).fit(torch, blobs(ROWS), None, asked)


@pytest.mark.slow
def test_what_takes_too_long_and_what_is_broken_off_end_their_workers(cluster: RayHead, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    endless = trainer(tmp_path / "log", epochs=100_000)
    with pytest.raises(LaunchError, match="not finished after 5.0 s"):
        Ray(address=cluster.address, timeout_s=5).fit(endless, blobs(ROWS), None, context(tmp_path / "late"))

    class BrokenOffError(Exception):
        pass

    worker: list[int] = []

    def break_off(*_: object) -> None:
        worker.append(os.pidfd_open(int((tmp_path / "off" / JOB_FOLDER / "process-0").read_text())))
        raise BrokenOffError

    with pytest.raises(BrokenOffError):
        Ray(address=cluster.address).fit(endless, blobs(ROWS), None, context(tmp_path / "off", progress=break_off))
    with selectors.DefaultSelector() as selector:
        selector.register(worker[0], selectors.EVENT_READ)
        assert selector.select(60), "the worker ends with its driver"
    os.close(worker[0])


def test_what_can_not_be_trained_so_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="2 workers of ray train a network of PyTorch together, not sklearn"):
        Ray(workers=2).fit(FOREST, blobs(ROWS), None, context(tmp_path / "f"))
    assert not (tmp_path / "f").exists()
    with pytest.raises(ValidationError, match="timeout_s"):
        Ray(timeout_s=0)


@pytest.mark.slow
def test_no_cluster_is_said(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="connecting to the cluster 127.0.0.1:1"):
        Ray(address="127.0.0.1:1", timeout_s=120).fit(FOREST, blobs(ROWS), None, context(tmp_path / "f"))


_PROGRAM = """
import sys
from pathlib import Path
from tests.training.frameworks.trainers import blobs
from tests.training.launchers.test_torchrun import context, trainer
from shoal_training.launchers.ray import Ray

folder = Path(sys.argv[1])
asked = context(folder / "a", progress=lambda *_: print("trains", flush=True))
Ray().fit(trainer(folder, epochs=100_000), blobs(240), None, asked)
"""


@pytest.mark.slow
def test_a_ray_of_its_own_ends_with_the_process_that_it_was_started_for(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "trains\n"
        worker = int((tmp_path / "a" / JOB_FOLDER / "process-0").read_text())
        handles = [os.pidfd_open(one) for one in (worker, os.getsid(worker))]  # the driver leads their session
        process.kill()
    for handle in handles:
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            assert selector.select(60)
        os.close(handle)
