"""A search: finds what is better, prunes what is not, goes on after a kill, shares its trials among processes."""

import os
import signal
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from shoal_training.errors import DataError
from shoal_training.frameworks.scikit_learn import ScikitLearn
from shoal_training.frameworks.trainer import Fitted, Samples, Task, TrainContext, Trainer
from shoal_training.onnx_samples import Array
from shoal_training.progress import silent
from shoal_training.tuning.result import read_tuning
from shoal_training.tuning.search import search
from shoal_training.tuning.settings import Tuning
from shoal_training.tuning.study import storage_url
from shoal_training.tuning.work import Work
from shoal_training.tuning.writing import write_tuning

FOREST = ScikitLearn(algorithm="random_forest", parameters={"n_estimators": 3})
DEPTHS = {"parameters.max_depth": {"low": 1, "high": 6}}


def samples(seed: int, rows: int = 120) -> Samples:
    x = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    return Samples(x, ((x[:, 0] * x[:, 1]) > 0).astype(np.int64))


class Answer(Fitted):
    """Says one number of each sample."""

    def __init__(self, value: float) -> None:
        self._value = value
        self.facts = {}

    def scores(self, x: Array) -> Array:
        return np.full(len(x), self._value, dtype=np.float32)

    def graph(self) -> Any:
        raise NotImplementedError


class Guessing(Trainer):
    """Answers with its own field, and tells on the way how far that is from 3."""

    framework: ClassVar[str] = "guessing"
    tasks: ClassVar[frozenset[Task]] = frozenset({"regression"})

    guess: float = 0.0
    epochs: int = 4

    def fit(self, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        assert held_out is not None
        assert len(train) > len(held_out)
        if self.guess < 0:
            raise DataError("guessing: a guess below 0 is none")
        for epoch in range(1, self.epochs + 1):
            context.metric("held_out_loss", abs(self.guess - 3) + 1 / epoch, epoch)
            TOLD.append((self.guess, epoch))
        return Answer(self.guess)


TOLD: list[tuple[float, int]] = []
THREES = Samples(np.zeros((30, 1), dtype=np.float32), np.full(30, 3, dtype=np.float32))
FEW = Samples(THREES.x[:10], np.full(10, 3, dtype=np.float32))


def work_of(tuning: dict[str, Any], trainer: Trainer = FOREST, task: Task = "classification") -> Work:
    return Work(Tuning.model_validate(tuning), trainer, task, 2 if task == "classification" else 0, 1, "test", 1)


def guessing(**tuning: Any) -> Work:
    return work_of({"space": {"guess": {"low": 0.0, "high": 9.0}}, **tuning}, Guessing(), "regression")


def test_a_search_finds_what_fits_and_writes_it_with_pictures(tmp_path: Path) -> None:
    work = guessing(trials=14, seed=2, pruner="none")
    study = search(work, THREES, FEW, tmp_path / "work", silent)
    found = write_tuning(study, work.metric, work.study, tmp_path)
    assert found.settings["guess"] == pytest.approx(3, abs=1)
    assert found.value == pytest.approx(abs(float(found.settings["guess"]) - 3), abs=1e-5)
    assert (found.metric, found.is_rising, len(found.trials)) == ("root_mean_squared_error", False, 14)
    assert read_tuning(tmp_path) == found
    assert len(found.pictures) == 3
    for name in found.pictures:
        assert "<svg" in (tmp_path / name).read_text()


def test_the_same_seed_tries_the_same(tmp_path: Path) -> None:
    tried = []
    for name in ("first", "second"):
        study = search(guessing(trials=5, seed=4), THREES, FEW, tmp_path / name, silent)
        tried.append([one.params for one in study.study.get_trials()])
    assert tried[0] == tried[1]


def test_a_trial_that_fares_worse_is_pruned_by_what_the_trainer_tells(tmp_path: Path) -> None:
    TOLD.clear()
    study = search(guessing(trials=14), THREES, FEW, tmp_path, silent)
    states = [one.state.name for one in study.study.get_trials()]
    assert states.count("PRUNED") > 1
    assert states.count("COMPLETE") > 4
    assert len(TOLD) < 14 * 4, "epochs were saved"
    TOLD.clear()
    search(guessing(trials=2, pruner="none"), THREES, FEW, tmp_path / "whole", silent)
    assert len(TOLD) == 2 * 4


def test_pruning_turns_a_loss_round_where_the_metric_rises(tmp_path: Path) -> None:
    study = search(guessing(trials=1, metric="r2", pruner="none"), THREES, spread(), tmp_path / "plain", silent)
    reported = study.study.get_trials()[0].intermediate_values
    assert all(value < 0 for value in reported.values()), "a loss of less than nothing: the study maximises"


def spread() -> Samples:
    return Samples(FEW.x, np.linspace(2, 4, 10, dtype=np.float32))


def test_a_trial_that_fails_is_recorded_with_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    work = work_of({"space": {"guess": [-1.0, 2.0]}, "trials": 6, "seed": 1}, Guessing(), "regression")
    study = search(work, THREES, FEW, tmp_path / "work", silent)
    found = write_tuning(study, work.metric, work.study, tmp_path)
    failed = [one for one in found.trials if one.state == "fail"]
    assert failed
    assert all("a guess below 0 is none" in one.reason for one in failed)
    assert found.settings == {"guess": 2.0}
    hopeless = work_of({"space": {"guess": [-1.0]}, "trials": 3}, Guessing(), "regression")
    study = search(hopeless, THREES, FEW, tmp_path / "hopeless", silent)
    with pytest.raises(DataError, match="none of 3 trials was finished: guessing: a guess below 0 is none"):
        write_tuning(study, hopeless.metric, hopeless.study, tmp_path)


def test_a_search_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    study = search(guessing(trials=4), THREES, FEW, tmp_path, silent)
    killed = study.study.ask()
    chosen = killed.suggest_float("guess", 0.0, 9.0)
    again = search(guessing(trials=6), THREES, FEW, tmp_path, silent)
    trials = again.study.get_trials()
    assert again.ended() == 6
    assert trials[4].state.name == "FAIL", "nobody works on it any more"
    assert trials[5].params == {"guess": chosen}, "what it had chosen is tried anew"
    assert search(guessing(trials=6), THREES, FEW, tmp_path, silent).ended() == 6, "there is nothing left to do"


def test_no_trial_is_begun_after_the_time_is_over(tmp_path: Path) -> None:
    assert search(guessing(trials=1000, minutes=1e-9), THREES, FEW, tmp_path, silent).ended() == 0


@pytest.mark.slow
def test_processes_share_the_trials_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    work = work_of({"space": DEPTHS, "trials": 5, "workers": 2})
    told: list[int] = []
    has_begun, killed = threading.Event(), threading.Event()

    def progress(_stage: str, done: int, _total: int) -> None:
        told.append(done)
        if done:
            has_begun.set()

    def kill_one() -> None:
        has_begun.wait(90)
        for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
            for one in child.read_text().split():
                line = Path(f"/proc/{one}/cmdline")
                if line.is_file() and b"tuning.worker" in line.read_bytes():
                    os.kill(int(one), signal.SIGKILL)
                    killed.set()
                    return

    thread = threading.Thread(target=kill_one)
    thread.start()
    study = search(work, samples(1), samples(2, 40), tmp_path, progress)
    thread.join()
    assert study.ended() >= 5
    assert killed.is_set()
    done = [one for one in study.study.get_trials() if one.state.name == "COMPLETE"]
    assert len(done) == 5
    assert told[-1] == 5


@pytest.mark.slow
def test_processes_that_can_not_work_end_the_search_with_what_they_said(tmp_path: Path) -> None:
    work = work_of({"space": {"guess": {"low": 0.0, "high": 1.0}}, "trials": 4, "workers": 2}, Guessing(), "regression")
    with pytest.raises(DataError, match=r"its workers end before the search does: .*guessing"):
        search(work, THREES, FEW, tmp_path, silent)  # they know no such framework


def test_a_storage_takes_its_password_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "hush")
    assert storage_url("postgresql+psycopg://me:$DB_PASSWORD@db/tune", tmp_path) == (
        "postgresql+psycopg://me:hush@db/tune"
    )
    with pytest.raises(DataError, match="its storage names NO_SUCH_ONE"):
        storage_url("postgresql+psycopg://me:${NO_SUCH_ONE}@db/tune", tmp_path)
    unreachable = guessing(trials=1, storage="postgresql+psycopg://me:$DB_PASSWORD@127.0.0.1:1/tune")
    with pytest.raises(DataError, match="opening the study") as caught:
        search(unreachable, THREES, FEW, tmp_path, silent)
    assert "hush" not in str(caught.value)


def test_two_searches_do_not_share_a_folder(tmp_path: Path) -> None:
    from shoal_compression.output_folder import held_alone

    with held_alone(tmp_path) as is_alone:
        assert is_alone
        with pytest.raises(DataError, match="another search runs"):
            search(guessing(trials=1), THREES, FEW, tmp_path, silent)


def test_without_answers_there_is_nothing_to_search_by(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no answers to measure trials by"):
        search(guessing(trials=1), THREES, Samples(FEW.x, None), tmp_path, silent)
    with pytest.raises(DataError, match="no metric is called glee"):
        search(guessing(trials=1, metric="glee"), THREES, FEW, tmp_path, silent)
