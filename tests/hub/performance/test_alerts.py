"""Alerts on what labels, values and confidence say: with the reference design's thresholds, or those of a model."""

from datetime import timedelta
from typing import Any

import pytest
from tests.hub.monitoring.test_drift import take
from tests.hub.performance.conftest import Answers, Fleet, of_numbers

from shoal_contract.performance import PerformanceCounts
from shoal_hub.alerts.evaluate import AlertEvaluator
from shoal_hub.alerts.telling import Timing
from shoal_numerics.value_sums import regression_of

URL = "/api/v1/alerts"


class Looks:
    """A controller's looks, by a clock in hand."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.passed_s = fleet, 0.0
        timing = Timing(group_wait_s=0, group_interval_s=0, repeat_interval_s=3600)
        self.evaluator = AlertEvaluator(fleet.hub.database, timing, 10.0, lambda: self.passed_s, lambda: 0.0)

    def rule(self, metric: str, **changes: Any) -> None:
        when = {"kind": "metric", "metric": metric, "model": "colours", "window_s": 600} | changes
        answer = self.fleet.client.put(f"{URL}/rules/mine", json={"when": when, "for_s": 0, "resolve_s": 0})
        assert answer.status_code == 200, answer.text

    def firing(self, rule: str = "mine") -> list[dict[str, Any]]:
        """Look twice, and return what fires."""
        for _ in range(2):
            self.passed_s += 10
            self.evaluator.step(self.fleet.now + timedelta(seconds=1))
        found: list[dict[str, Any]] = self.fleet.client.get(URL, params={"rule": rule, "state": "firing"}).json()
        return found


def threshold(fleet: Fleet, **values: float) -> None:
    fleet.client.put(f"{URL}/thresholds/colours", json={"thresholds": values}).raise_for_status()


@pytest.mark.parametrize("metric", ["precision", "recall"])
def test_precision_and_recall_fire_below_a_threshold_of_their_own(fleet: Fleet, metric: str) -> None:
    looks, answers = Looks(fleet), Answers(1, right=0.4)
    looks.rule(metric)
    fleet.tell(0, answers)
    [alert] = looks.firing()
    row = fleet.row()
    assert alert["value"] == pytest.approx(row[metric])
    assert (alert["threshold"], alert["labels"]["version"]) == (0.8, "1")
    threshold(fleet, **{metric: 0.1})
    assert looks.firing() == []


@pytest.mark.parametrize("metric", ["f1", "auc"])
def test_a_metric_without_a_threshold_of_its_own_fires_only_once_one_is_set(one_fleet: Fleet, metric: str) -> None:
    looks = Looks(one_fleet)
    looks.rule(metric)
    one_fleet.tell(0, Answers(1, right=0.3))
    assert looks.firing() == []
    threshold(one_fleet, **{metric: 0.99})
    [alert] = looks.firing()
    assert alert["value"] == pytest.approx(one_fleet.row()[metric])


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_errors_of_numbers_fire_above_the_threshold_that_is_set(one_fleet: Fleet, metric: str) -> None:
    looks, numbers = Looks(one_fleet), of_numbers(one_fleet)
    looks.rule(metric, group_by=["model", "group"])
    for device, error in ((0, 1.0), (1, 5.0)):
        told = PerformanceCounts(regression=regression_of([20.0] * 150, [20.0 + error] * 150))
        numbers.unlabelled(device, Answers(device), performance=told)
    assert looks.firing() == []
    threshold(one_fleet, **{metric: 3.0})
    [alert] = looks.firing()
    assert (alert["value"], alert["labels"]["group"]) == (pytest.approx(5.0), "south")


def test_the_estimated_accuracy_fires_where_no_label_came(one_fleet: Fleet) -> None:
    looks = Looks(one_fleet)
    looks.rule("estimated_accuracy", group_by=["model"])
    for seed in range(3):
        one_fleet.unlabelled(0, Answers(seed, right=0.5))
    assert looks.firing() == [], "by its held-out data, where all was right, the version is still good enough"
    one_fleet.change_baseline(calibration=None)
    looks = Looks(one_fleet)
    threshold(one_fleet, estimated_accuracy=0.95)
    [alert] = looks.firing()
    assert alert["value"] == pytest.approx(one_fleet.row()["estimate"]["accuracy"])
    assert "answers" in alert["message"]


def test_the_hub_looks_for_low_precision_and_recall_from_the_start(one_fleet: Fleet) -> None:
    rules = {one["name"]: one for one in one_fleet.client.get(f"{URL}/rules").json()}
    for metric in ("precision", "recall"):
        assert rules[f"{metric}-low"]["rule"]["when"]["metric"] == metric


def test_too_few_labels_say_nothing(one_fleet: Fleet) -> None:
    looks = Looks(one_fleet)
    looks.rule("recall", min_samples=500)
    one_fleet.tell(0, Answers(1, right=0.2))
    assert looks.firing() == []


def test_minutes_and_devices_add_up_to_what_all_their_windows_say(one_fleet: Fleet) -> None:
    looks = Looks(one_fleet)
    looks.rule("f1", threshold=1.0, group_by=["model"])
    for number in range(4):
        received_at = one_fleet.now - timedelta(seconds=100 * number)
        window = one_fleet.window(Answers(number), at=received_at)
        take(one_fleet.hub, one_fleet.ids[number % 3], window, received_at)
    [alert] = looks.firing()
    row = one_fleet.row()
    assert (alert["value"], row["labelled"]) == (pytest.approx(row["f1"]), 600)
    assert "600 labelled samples" in alert["message"]
