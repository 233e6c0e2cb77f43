"""One suite for all trainers: what a pipeline may expect of any framework."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tests.training.frameworks.trainers import (
    CASES,
    CLASSES,
    FEATURES,
    Case,
    KilledError,
    changed,
    error_of,
    killed_after,
)

from shoal_training.errors import DataError, MemoryNeededError
from shoal_training.frameworks.trainer import Fitted, History, Samples
from shoal_training.onnx_samples import Array
from shoal_training.transforms.parity import check_same

pytestmark = pytest.mark.parametrize(
    "case",
    [pytest.param(one, id=one.name, marks=[pytest.mark.slow] if one.is_slow else []) for one in CASES],
)

_FITTED: dict[str, Fitted] = {}


@pytest.fixture
def train(case: Case) -> Samples:
    return case.problem()


@pytest.fixture
def fitted(case: Case, train: Samples, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Trained once for all tests that only look at it."""
    if case.name not in _FITTED:
        _FITTED[case.name] = case.fit(train, tmp_path_factory.mktemp(case.name), case.problem(120, seed=1))
    return _FITTED[case.name]


def onnx_scores(model: Any, x: Array) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["x"]
    [found] = session.run(["scores"], {"x": x})
    return np.asarray(found)


def test_it_learns_what_rows_that_it_has_not_seen_have_in_common(case: Case, fitted: Fitted) -> None:
    unseen = case.problem(300, seed=2)
    scores = fitted.scores(unseen.x)
    assert scores.dtype == np.float32
    assert scores.shape == ((300, CLASSES) if case.task == "classification" else (300,))
    assert error_of(case, scores, unseen) < 0.2
    if case.task == "classification":
        np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)


def test_what_it_writes_as_onnx_says_the_same_of_one_row_and_of_many(case: Case, fitted: Fitted) -> None:
    x = case.problem(300, seed=2).x
    model = fitted.graph()
    onnx.checker.check_model(model, full_check=True)
    check_same("the model", fitted.scores(x), onnx_scores(model, x))
    check_same("the model", fitted.scores(x[:1]), onnx_scores(model, x[:1]))


def test_the_same_seed_gives_the_same_model(case: Case, train: Samples, fitted: Fitted, tmp_path: Path) -> None:
    again = case.fit(train, tmp_path, case.problem(120, seed=1))
    np.testing.assert_array_equal(again.scores(train.x), fitted.scores(train.x))


def test_killed_and_run_again_it_ends_as_if_it_had_never_been_killed(
    case: Case, train: Samples, fitted: Fitted, tmp_path: Path
) -> None:
    if case.interval is None:
        pytest.skip("it trains at once")
    held_out, history = case.problem(120, seed=1), History()
    with pytest.raises(KilledError):
        case.fit(train, tmp_path, held_out, metric=killed_after(6))
    lost: list[int] = []
    resumed = case.fit(
        train, tmp_path, held_out, metric=history, progress=lambda _stage, done, _total: lost.append(done)
    )
    np.testing.assert_array_equal(resumed.scores(train.x), fitted.scores(train.x))
    steps = [step for step, _ in history.points["train_loss"]]
    assert steps == list(range(1, len(steps) + 1)), "each epoch is told once, those before the kill among them"
    assert len(lost) <= len(steps) - (6 - case.interval), "no more than an interval is done twice"


def test_a_finished_training_is_not_done_again(case: Case, train: Samples, tmp_path: Path) -> None:
    if case.interval is None:
        pytest.skip("it keeps nothing")
    first, did = case.fit(train, tmp_path), []
    again = case.fit(train, tmp_path, progress=lambda _stage, done, _total: did.append(done))
    assert did == []
    np.testing.assert_array_equal(again.scores(train.x), first.scores(train.x))


def test_a_checkpoint_of_other_data_is_refused(case: Case, train: Samples, tmp_path: Path) -> None:
    if case.interval is None:
        pytest.skip("it keeps nothing")
    case.fit(train, tmp_path)
    with pytest.raises(DataError, match="of another training .*; name another folder, or remove the file"):
        case.fit(changed(train, x=train.x + 1), tmp_path)


def test_it_ends_early_with_its_best_state(case: Case, tmp_path: Path) -> None:
    if case.stops is None:
        pytest.skip("it has no early stopping")
    history, train = History(), case.problem()
    fitted = case.trainer(**case.stops).fit(train, None, case.context(tmp_path, metric=history))
    losses = [value for _, value in history.points["watched_loss"]]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 2 < (case.stops.get("epochs") or case.stops["rounds"])
    assert fitted.facts.get("best_epoch", fitted.facts.get("best_round")) == best
    # The best state comes back: a training that has no more than those epochs says the same.
    length = "epochs" if "epochs" in case.stops else "rounds"
    short = case.trainer(**case.stops | {length: best}).fit(train, None, case.context(tmp_path / "short"))
    np.testing.assert_array_equal(fitted.scores(train.x), short.scores(train.x))


def test_rows_that_weigh_more_decide(case: Case, tmp_path: Path) -> None:
    x = np.random.default_rng(5).normal(size=(120, FEATURES)).astype(np.float32)
    x[:, 0] = 0.0  # the same rows twice, with two answers
    both = np.concatenate([x, x])
    low, high = (0, 2) if case.task == "classification" else (-1.0, 1.0)
    y = np.repeat(np.array([low, high], dtype=np.int64 if case.task == "classification" else np.float32), 120)
    if case.task == "classification":  # some of the third class, far away
        both, y = np.concatenate([both, x[:20] + 50]), np.concatenate([y, np.ones(20, dtype=np.int64)])
    weight = np.where(y == high, 20.0, 1.0).astype(np.float32)
    scores = case.fit(Samples(both, y, weight), tmp_path).scores(x)
    told = scores.argmax(axis=1) == high if case.task == "classification" else scores > 0.4
    assert told.mean() > 0.9


@pytest.mark.parametrize("found", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_refused_with_its_row(
    case: Case, train: Samples, tmp_path: Path, found: float
) -> None:
    x = train.x.copy()
    x[17, 2] = found
    with pytest.raises(DataError, match=rf"row 17 has {found} at 2, expected finite numbers; add a step `impute`"):
        case.fit(changed(train, x=x), tmp_path)


def test_one_class_is_refused(case: Case, train: Samples, tmp_path: Path) -> None:
    if case.task != "classification":
        pytest.skip("it has no classes")
    with pytest.raises(DataError, match="all 240 rows are of class 1, expected two classes or more"):
        case.fit(changed(train, y=np.ones(240, dtype=np.int64)), tmp_path)


def test_a_class_without_rows_is_refused(case: Case, train: Samples, tmp_path: Path) -> None:
    if case.task != "classification":
        pytest.skip("it has no classes")
    with pytest.raises(DataError, match="no row of class 2 to learn from"):
        case.fit(Samples(train.x, np.arange(240, dtype=np.int64) % 2), tmp_path)


def test_one_row_is_refused(case: Case, train: Samples, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 rows found, expected 2 or more"):
        case.fit(Samples(train.x[:1], train.y[:1]), tmp_path)  # type: ignore[index]


def test_arrays_that_do_not_fit_each_other_are_refused(case: Case, train: Samples, tmp_path: Path) -> None:
    assert train.y is not None
    with pytest.raises(DataError, match=r"240 rows learned from and answers of shape \(239,\)"):
        case.fit(changed(train, y=train.y[:-1]), tmp_path)
    with pytest.raises(DataError, match=r"held out of shape \(3,\) found, those to learn from have \(4,\)"):
        case.fit(train, tmp_path, Samples(train.x[:, :3], train.y))
    with pytest.raises(DataError, match="row 3 learned from weighs 0.0, expected a number above 0"):
        case.fit(changed(train, weight=np.where(np.arange(240) == 3, 0, 1).astype(np.float32)), tmp_path)


def test_what_fits_no_memory_is_refused_before_it_begins(case: Case, train: Samples, tmp_path: Path) -> None:
    if case.huge is None:
        pytest.skip("what it needs depends on the data alone")
    with pytest.raises(MemoryNeededError, match=r"about \d+\.\d GiB of memory needed, .* take a smaller network"):
        case.trainer(**case.huge).fit(train, None, case.context(tmp_path))
