"""From devices' windows to metrics: those of scikit-learn, by device, group, version, slice and time."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score
from tests.hub.performance.conftest import URL, Answers, Fleet, counts_of, of_numbers, packed

from shoal_contract.performance import CustomMetric, PerformanceCounts
from shoal_numerics.value_sums import regression_of, sums_of


def expected(*answers: Answers) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return (
        np.concatenate([one.truth for one in answers]),
        np.concatenate([one.predicted for one in answers]),
        np.concatenate([one.scores for one in answers]),
    )


def check(row: dict[str, Any], *answers: Answers) -> None:
    """See that a row has scikit-learn's metrics of these answers."""
    truth, predicted, scores = expected(*answers)
    shares = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)[:3]
    assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(list(shares))
    assert row["accuracy"] == pytest.approx((truth == predicted).mean())
    area = roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert abs(row["auc"] - area) <= row["auc_error"] < 0.05
    assert (row["labelled"], row["correct"], row["average"]) == (len(truth), (truth == predicted).sum(), "macro")


def test_metrics_over_many_windows_are_those_of_all_their_labels(fleet: Fleet) -> None:
    answers = [Answers(seed) for seed in range(4)]
    for number, one in enumerate(answers):
        fleet.tell(number % 3, one)
    row = fleet.row(detail=True)
    check(row, *answers)
    truth, predicted, _ = expected(*answers)
    assert [one["label"] for one in row["classes"]] == ["red", "green", "blue"]
    assert [one["support"] for one in row["classes"]] == np.bincount(truth).tolist()
    assert [one["answered"] for one in row["classes"]] == np.bincount(predicted).tolist()
    assert np.array(row["confusion"]).trace() == row["correct"]
    assert (row["windows"], row["requests"], row["samples"], row["error_rate"]) == (4, 600, 600, 0.0)
    assert 1 < row["p95_latency_ms"] <= 2


def test_devices_groups_and_versions_are_told_apart(fleet: Fleet) -> None:
    answers = [Answers(seed, right=right) for seed, right in ((1, 0.9), (2, 0.5), (3, 0.7))]
    for number, one in enumerate(answers):
        fleet.tell(number, one)
    by_device = {row["device_name"]: row for row in fleet.read(by="device")["rows"]}
    for number, one in enumerate(answers):
        check(by_device[f"d{number}"], one)
    by_group = {row["group"]: row for row in fleet.read(by="group")["rows"]}
    check(by_group["north"], answers[0])
    check(by_group["south"], *answers[1:])
    [of_version] = fleet.read(by="version", version=1)["rows"]
    check(of_version, *answers)
    assert of_version["version"] == 1
    check(fleet.row(device=fleet.ids[1]), answers[1])
    fleet.client.post("/api/v1/groups", json={"name": "ends", "devices": [fleet.ids[0], fleet.ids[2]]})
    check(fleet.row(group="ends"), answers[0], answers[2])
    assert fleet.read(version=2)["rows"] == []


def test_stretches_of_time_are_told_apart_by_when_windows_ended(fleet: Fleet) -> None:
    answers = [Answers(seed) for seed in range(3)]
    for hours, one in zip((5, 3, 3), answers, strict=True):
        fleet.tell(hours % 3, one, at=fleet.now - timedelta(hours=hours))
    since = fleet.now - timedelta(hours=5, minutes=30)
    rows = fleet.read(by="window", since=since.isoformat(), until=fleet.now.isoformat(), step_s=3600)["rows"]
    assert [row["begins_at"] for row in rows] == [
        (since + timedelta(hours=hours)).isoformat().replace("+00:00", "Z") for hours in (0, 2)
    ]
    check(rows[0], answers[0])
    check(rows[1], *answers[1:])
    later = (fleet.now - timedelta(hours=4)).isoformat()
    check(fleet.row(since=later), *answers[1:])


def test_slices_have_their_own_metrics(fleet: Fleet) -> None:
    one = Answers(1)
    fleet.tell(0, one)
    for row in (fleet.row(by="slice"), fleet.row(slice="low")):
        truth, predicted = one.truth[one.is_low], one.predicted[one.is_low]
        shares = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)[:3]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(list(shares))
        assert (row["slice"], row["labelled"], row["samples"]) == ("low", len(truth), len(truth))
        assert row["estimate"]["samples"] == len(truth)
    assert fleet.row(slice="high")["labelled"] == 0


def test_thresholds_are_the_reference_design_s_until_a_model_has_its_own(one_fleet: Fleet) -> None:
    one_fleet.tell(0, Answers(1, right=0.8), errors=20, requests=170)
    row = one_fleet.row()
    found = {name: (one["threshold"], one["holds"]) for name, one in row["judged"].items()}
    assert 0.8 < row["accuracy"] < 0.9
    assert {name: threshold for name, (threshold, _) in found.items()} == {
        "accuracy": 0.85,
        "precision": 0.8,
        "recall": 0.8,
        "estimated_accuracy": 0.85,
        "p95_latency": 100.0,
        "error_rate": 0.05,
    }
    assert found["accuracy"][1] == (row["accuracy"] >= 0.85)
    assert (found["p95_latency"][1], found["error_rate"][1]) == (True, False)
    own = {"accuracy": 0.99, "f1": 0.5, "error_rate": 0.2}
    one_fleet.client.put("/api/v1/alerts/thresholds/colours", json={"thresholds": own}).raise_for_status()
    judged = one_fleet.row()["judged"]
    assert {name: judged[name]["holds"] for name in own} == {"accuracy": False, "f1": True, "error_rate": True}


@pytest.mark.parametrize("average", ["micro", "weighted"])
def test_classes_are_put_together_as_is_asked(one_fleet: Fleet, average: str) -> None:
    one = Answers(1)
    one_fleet.tell(0, one)
    row = one_fleet.row(average=average)
    shares = precision_recall_fscore_support(one.truth, one.predicted, average=average, zero_division=0)[:3]
    assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(list(shares))
    assert row["average"] == average


def test_of_two_classes_the_second_is_the_positive_one(one_fleet: Fleet) -> None:
    one_fleet.change_baseline(predictions=(75, 75), slices=None, calibration=None)
    one = Answers(1, classes=2)
    one_fleet.tell(0, one)
    row = one_fleet.row()
    shares = precision_recall_fscore_support(one.truth, one.predicted, average="binary")[:3]
    assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(list(shares))
    assert abs(row["auc"] - roc_auc_score(one.truth, one.scores[:, 1])) <= row["auc_error"]
    assert row["average"] == "binary"


def test_agents_that_count_no_classes_still_tell_of_accuracy(one_fleet: Fleet) -> None:
    one_fleet.tell(0, Answers(1), performance=None)
    row = one_fleet.row()
    assert row["accuracy"] == pytest.approx(row["correct"] / 150)
    assert (row["precision"], row["auc"], row["confusion"]) == (None, None, None)


def test_errors_of_numbers_and_metrics_of_applications_are_added_up(fleet: Fleet) -> None:
    numbers = of_numbers(fleet)
    draw = np.random.default_rng(1)
    truth = draw.normal(20, 4, (2, 150))
    found = truth + draw.normal(0.5, 2, (2, 150))
    for number in (0, 1):
        one = regression_of(truth[number], found[number])
        metric = CustomMetric(name="late_min", sums=sums_of(truth[number, :10]))
        told = PerformanceCounts(regression=one, regression_slices=(one,), not_finite=number, metrics=(metric,))
        numbers.unlabelled(number, Answers(number), performance=told)
    row = numbers.row()
    errors = (found - truth).ravel()
    assert row["mae"] == pytest.approx(np.abs(errors).mean())
    assert row["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert row["bias"] == pytest.approx(errors.mean())
    assert row["r2"] == pytest.approx(1 - (errors**2).sum() / ((truth - truth.mean()) ** 2).sum())
    assert (row["valued"], row["not_finite"], row["accuracy"], row["estimate"]) == (300, 1, None, None)
    [metric] = row["custom"]
    assert (metric["name"], metric["values"]) == ("late_min", 20)
    assert metric["mean"] == pytest.approx(truth[:, :10].mean())
    assert metric["standard_deviation"] == pytest.approx(truth[:, :10].std(ddof=1))
    assert numbers.row(slice="low")["valued"] == 300
    own = {"mae": 0.1, "rmse": 10.0}
    numbers.client.put("/api/v1/alerts/thresholds/colours", json={"thresholds": own}).raise_for_status()
    assert {name: one["holds"] for name, one in numbers.row()["judged"].items()} == {
        "mae": False,
        "rmse": True,
        "p95_latency": True,
        "error_rate": True,
    }


def test_two_windows_of_metrics_alone_by_a_clock_that_stands_still_are_both_counted(fleet: Fleet) -> None:
    numbers = of_numbers(fleet)
    nobody = Answers(1, samples=0)
    for value in (1.0, 2.0):
        told = PerformanceCounts(metrics=(CustomMetric(name="m", sums=sums_of([value])),))
        numbers.unlabelled(0, nobody, performance=told)
        numbers.unlabelled(0, nobody, performance=told)
    assert numbers.row()["custom"][0]["values"] == 2, "and what comes again is not"


def test_what_is_asked_wrongly_is_refused(one_fleet: Fleet) -> None:
    asked: list[tuple[dict[str, Any], int]] = [
        ({"model": "nothing"}, 404),
        ({"group": "nothing"}, 404),
        ({"by": "moon"}, 422),
        ({"since": "2025-01-02T00:00:00Z", "until": "2025-01-01T00:00:00Z"}, 422),
        ({"since": "2020-01-01T00:00:00Z"}, 422),
        ({"since": "2025-01-01T00:00:00"}, 422),
        ({"step_s": 60, "since": "2025-01-01T00:00:00Z", "until": "2025-01-09T00:00:00Z", "by": "window"}, 422),
        ({"limit": 0}, 422),
    ]
    for params, status in asked:
        answer = one_fleet.client.get("/api/v1/performance", params={"model": "colours"} | params)
        assert answer.status_code == status, (params, answer.text)


def test_rows_beyond_the_limit_are_said_to_be_there(one_fleet: Fleet) -> None:
    for number in range(3):
        one_fleet.tell(number, Answers(number))
    found = one_fleet.read(by="device", limit=2)
    assert (len(found["rows"]), found["has_more"]) == (2, True)
    assert one_fleet.read(by="device", limit=3)["has_more"] is False


def test_more_windows_than_are_read_at_once_are_refused_with_what_to_do(
    one_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_hub.performance.reading.MAX_WINDOWS", 1)
    for number in (0, 1):
        one_fleet.tell(number, Answers(number))
    answer = one_fleet.client.get(URL, params={"model": "colours"})
    assert answer.status_code == 422
    assert "shorter time" in answer.json()["error"]["remedy"]
    assert one_fleet.client.get(
        "/api/v1/performance", params={"model": "colours", "device": one_fleet.ids[0]}
    ).is_success


def test_counts_of_a_partly_labelled_window_are_taken(one_fleet: Fleet) -> None:
    whole, part = Answers(1), Answers(2, samples=30)
    told = packed(counts_of(one_fleet.baseline, part))
    one_fleet.tell(0, whole, labelled=30, correct=part.correct, performance=told)
    check(one_fleet.row(), part)
