"""Accuracy without labels: near the truth where confidence means what it did, and blind to concept drift."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.hub.performance.conftest import Answers, Fleet
from tests.hub.registry.bundles import WEIGHTS, make_onnx, record, write_bundle

from shoal_hub.performance.measures import MIN_CALIBRATING_LABELS
from shoal_hub.registry.inspection import inspect
from shoal_hub.registry.limits import BundleLimits


def test_a_device_without_labels_is_estimated_by_what_others_labels_say(fleet: Fleet) -> None:
    for seed in (1, 2, 3, 4):
        fleet.tell(0, Answers(seed))
    silent = [Answers(seed) for seed in (11, 12, 13)]
    for one in silent:
        fleet.unlabelled(1, one)
    row = fleet.row(device=fleet.ids[1])
    found, truth = row["estimate"], np.mean([one.correct / 150 for one in silent])
    assert (row["labelled"], row["accuracy"], found["calibrated_by"], found["samples"]) == (0, None, "labels", 450)
    assert found["low"] <= truth <= found["high"]
    assert found["accuracy"] == pytest.approx(truth, abs=0.05)
    assert "concept drift" in found["note"]


def test_an_estimate_does_not_see_that_the_truth_has_changed(one_fleet: Fleet) -> None:
    for seed in (1, 2, 3, 4):
        one_fleet.tell(0, Answers(seed))
    drifted = Answers(21)
    drifted.truth = (drifted.truth + 1) % 3
    one_fleet.tell(2, drifted)
    row = one_fleet.row(device=one_fleet.ids[2])
    assert row["accuracy"] < 0.35
    assert row["estimate"]["low"] > row["accuracy"] + 0.2, "the two stand side by side, and labels overrule it"


def test_with_few_labels_the_held_out_data_of_the_bundle_calibrate(one_fleet: Fleet) -> None:
    few = Answers(1, samples=MIN_CALIBRATING_LABELS - 1)
    one_fleet.tell(0, few)
    assert one_fleet.row()["estimate"]["calibrated_by"] == "held_out"
    one_fleet.change_baseline(calibration=None)
    assert one_fleet.row()["estimate"]["calibrated_by"] == "nothing", "the model is taken at its word"


def test_a_bundle_s_held_out_labels_become_a_calibration(tmp_path: Path) -> None:
    baseline = inspect(write_bundle(tmp_path / "right"), BundleLimits()).baseline
    assert baseline.calibration is not None
    assert baseline.calibration.right == baseline.calibration.answered, "its labels are its own answers"
    assert sum(baseline.calibration.answered) == 50
    backwards = write_bundle(tmp_path / "wrong", model_onnx=make_onnx(-WEIGHTS))
    wrong = inspect(backwards, BundleLimits()).baseline.calibration
    assert wrong is not None
    assert sum(wrong.right) < 5


@pytest.mark.parametrize("labels", [None, np.full(50, 3), np.full(50, -1), np.zeros(49, dtype=int), np.zeros(50)])
def test_held_out_data_without_labels_that_fit_make_none(tmp_path: Path, labels: np.ndarray | None) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    folder = write_bundle(tmp_path / "bundle")
    np.savez_compressed(folder / "test.npz", **({"x": x} if labels is None else {"x": x, "y": labels}))
    description = json.loads((folder / "bundle.json").read_text())
    description["files"]["test.npz"] = record(folder / "test.npz")
    (folder / "bundle.json").write_text(json.dumps(description))
    assert inspect(folder, BundleLimits()).baseline.calibration is None
