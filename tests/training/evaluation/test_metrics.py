"""Metrics: on resamples what scikit-learn says of the repeated rows, undefined where they are, and clear errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_training.errors import DataError
from shoal_training.evaluation.anomaly_metrics import chosen_threshold
from shoal_training.evaluation.calibration import expected_calibration_error, reliability
from shoal_training.evaluation.metric import Metric
from shoal_training.evaluation.metrics import main_metric, measure, metrics_of
from shoal_training.frameworks.trainer import Task

CASES: tuple[Task, ...] = ("classification", "regression", "anomaly")


def rows_of(task: Task, seed: int, count: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    if task == "classification":
        scores = random.dirichlet(np.ones(classes), count).round(2)
        scores[:, 0] += 1 - scores.sum(axis=1)
        return random.integers(classes, size=count), np.abs(scores).astype(np.float32)
    if task == "regression":
        truth = random.normal(3, 2, count).astype(np.float32)
        return truth, (truth + random.normal(0, 1, count).round(1)).astype(np.float32)
    return (random.random(count) < 0.3).astype(np.float32), random.normal(size=count).round(1).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(task=st.sampled_from(CASES), seed=st.integers(0, 2**20), count=st.integers(2, 40), classes=st.integers(2, 4))
def test_a_metric_by_weight_is_the_metric_of_the_repeated_rows(task: Task, seed: int, count: int, classes: int) -> None:
    truth, scores = rows_of(task, seed, count, classes)
    drawn = np.random.default_rng(seed + 1).integers(count, size=(3, count))
    weights = np.stack([np.bincount(one, minlength=count) for one in drawn]).astype(np.float64)
    for metric in metrics_of(task, threshold=0.2):
        if metric.name == "mean_absolute_percentage_error":
            continue  # which rows are near 0 hangs on all rows, and a resample keeps what the rows had
        found = metric.over(truth, scores, weights)
        for value, rows in zip(found, drawn, strict=True):
            expected = metric.value(truth[rows], scores[rows])
            assert value == pytest.approx(expected, abs=1e-9, nan_ok=True), metric.name


def test_known_rows_have_known_figures() -> None:
    truth = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]], dtype=np.float32)
    found = measure("classification", truth, scores)
    assert found["accuracy"] == 0.75
    assert found["auc_roc"] == 1.0
    assert found["recall_macro"] == 0.75
    assert found["precision_macro"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["brier"] == pytest.approx(np.mean([0.1**2, 0.6**2, 0.2**2, 0.3**2]), rel=1e-5)
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.4, 0.8, 0.7])), rel=1e-5)
    numbers = measure("regression", np.array([1.0, 2.0, 4.0, 0.0]), np.array([2.0, 2.0, 1.0, 0.0]))
    assert numbers["mean_absolute_error"] == 1.0
    assert numbers["root_mean_squared_error"] == pytest.approx(np.sqrt(10 / 4))
    assert numbers["mean_absolute_percentage_error"] == pytest.approx((1 + 0 + 0.75) / 3), "the row at 0 is left out"
    assert numbers["absolute_error_p90"] == 3.0
    odd = measure("anomaly", np.array([0.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.9]))
    assert odd == {"auc_roc": 1.0, "average_precision": 1.0}


def test_what_is_not_defined_on_the_rows_is_left_out() -> None:
    one_class = measure("classification", np.zeros(3, dtype=np.int64), np.full((3, 2), 0.5, dtype=np.float32))
    assert "auc_roc" not in one_class
    assert "accuracy" in one_class
    logits = measure("classification", np.array([0, 1]), np.array([[3.0, -2.0], [0.0, 9.0]]))
    assert not {"log_loss", "brier", "calibration_error"} & set(logits), "they are of probabilities"
    constant = measure("regression", np.full(4, 2.0), np.arange(4.0))
    assert "r2" not in constant
    assert "mean_absolute_percentage_error" not in measure("regression", np.array([0.0, 0, 0, 9]), np.arange(4.0))


@pytest.mark.parametrize("task", CASES)
def test_each_metric_says_whether_more_is_better(task: Task) -> None:
    truth, scores = rows_of(task, 1, 400)
    if task == "classification":
        best = np.eye(3, dtype=np.float32)[truth]
        worst = np.roll(best, 1, axis=1)
    else:
        best, worst = truth.astype(np.float32), -10 * truth.astype(np.float32) + 5
    for metric in metrics_of(task, threshold=0.2):
        right, wrong = metric.value(truth, best), metric.value(truth, worst)
        assert metric.is_better(right, wrong), metric.name
    assert main_metric(task).name in {one.name for one in metrics_of(task)}
    assert len(scores) == 400


def test_nothing_to_measure_and_scores_that_are_no_numbers_are_said() -> None:
    with pytest.raises(DataError, match="0 scores for 0 rows"):
        measure("regression", np.zeros(0), np.zeros(0))
    with pytest.raises(DataError, match="3 scores for 2 rows"):
        measure("regression", np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="1 of 2 rows have a score that is no number"):
        measure("classification", np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 1.0]]))


def test_a_sure_and_wrong_model_is_badly_calibrated() -> None:
    truth = np.array([0, 1] * 50)
    sure = np.tile(np.array([[0.99, 0.01]], dtype=np.float32), (100, 1))
    assert expected_calibration_error(truth, sure) == pytest.approx(0.49, abs=1e-6)
    assert expected_calibration_error(truth, np.full((100, 2), 0.5, dtype=np.float32)) == pytest.approx(0.0, abs=1e-6)
    [only] = reliability(truth, sure)
    assert (only.rows, only.accuracy) == (100, 0.5)


def test_a_threshold_leaves_the_share_that_is_asked_for_above_it() -> None:
    scores = np.arange(1000, dtype=np.float32)
    assert (scores > chosen_threshold(scores, 0.05)).sum() == 50


def test_a_metric_without_a_resampled_form_is_asked_once_a_resample() -> None:
    metric = Metric("mean", is_rising=True, value=lambda truth, _scores: float(truth.mean()))
    weights = np.array([[3.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    assert metric.over(np.array([1.0, 2.0, 5.0]), np.zeros(3), weights).tolist() == [1.0, 4.0]
