"""From a request on a device to a row at the hub: what the agent's monitor sends is what the hub reads."""

from datetime import timedelta

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score
from tests.agent.monitor.test_monitor import NOW_ALL
from tests.agent.monitor.test_parts import served_by
from tests.fixtures import tiny
from tests.hub.monitoring.test_drift import like_training, take
from tests.hub.performance.conftest import Fleet

from shoal_agent.monitor import Monitor, Truth
from shoal_contract.telemetry import OutboxPosition, TelemetryMessage, Window
from shoal_contract.wire import parse_message

SAMPLES = 240


def test_what_a_device_counts_is_what_the_hub_shows(fleet: Fleet) -> None:
    base = tiny.tiny_manifest(model="colours").model_copy(update={"baseline": fleet.baseline})
    served, now = served_by(base), fleet.now
    monitor = Monitor(lambda: now - timedelta(minutes=5))
    x = like_training(3, SAMPLES)
    scores, truth = tiny.probabilities(x), np.random.default_rng(1).integers(0, 3, SAMPLES)
    for number in range(0, SAMPLES, 2):
        part = slice(number, number + 2)
        monitor.observe(served, {"x": x[part]}, {"probabilities": scores[part]}, 1.5, f"a-{number}")
        told = Truth(labels=truth[part].tolist(), metrics={"late_min": float(number)})
        monitor.tell("colours", f"a-{number}", told)
    [window] = monitor.take_windows(now, NOW_ALL)
    place = OutboxPosition(stream="0" * 16, sequence=1, oldest=1)
    sent = TelemetryMessage(body=window.to_message(place)).to_bytes()
    received = parse_message(TelemetryMessage, sent, 128 * 1024).body
    assert isinstance(received, Window)
    take(fleet.hub, fleet.ids[0], received, now)
    row = fleet.row()
    predicted = scores.argmax(axis=1)
    shares = precision_recall_fscore_support(truth, predicted, average="macro")[:3]
    assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(list(shares))
    assert abs(row["auc"] - roc_auc_score(truth, scores, multi_class="ovr")) <= row["auc_error"]
    assert (row["labelled"], row["custom"][0]["mean"]) == (SAMPLES, pytest.approx((SAMPLES - 2) / 2))
    low = x[:, 0] <= 0
    of_slice = fleet.row(by="slice")
    assert of_slice["accuracy"] == pytest.approx((predicted == truth)[low].mean())
    assert row["estimate"]["calibrated_by"] == "labels"
    assert row["estimate"]["accuracy"] == pytest.approx(row["accuracy"], abs=0.02), "by its own labels it is exact"
