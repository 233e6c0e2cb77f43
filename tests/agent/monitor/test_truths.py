"""What truth comes back becomes counts of the answers that were given, in bounded memory, and is counted once."""

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix
from tests.agent.monitor.test_labels import Device
from tests.agent.monitor.test_monitor import _data
from tests.agent.monitor.test_parts import SLICES, served_by, watched_manifest
from tests.fixtures import tiny

from shoal_agent.monitor import FinishedWindow, LabelError, Truth
from shoal_agent.monitor.answer_sketch import BUFFER_ANSWERS
from shoal_agent.serving import ServedModel
from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.performance import MAX_CUSTOM_METRICS, MAX_TRUE_VALUE
from shoal_contract.telemetry import OutboxPosition, Window
from shoal_contract.wire import parse_message
from shoal_numerics import Histogram, HistogramEdges, unpack_counts
from shoal_numerics.label_counts import LabelCounts, LabelLayout
from shoal_numerics.roc import SCORE_BINS, score_bins
from shoal_numerics.value_sums import regression_of


def message(window: FinishedWindow) -> Window:
    """Return a window as the hub reads it."""
    sent = window.to_message(OutboxPosition(stream="0" * 16, sequence=1, oldest=1)).to_bytes()
    return parse_message(Window, sent, 128 * 1024)


def counts_of(window: FinishedWindow, manifest: VersionManifest) -> LabelCounts:
    told = message(window).performance
    assert told is not None
    assert told.counts is not None
    layout = LabelLayout.of(manifest.baseline)
    return LabelCounts(layout, unpack_counts(base64.b64decode(told.counts), layout.size))


def numbers_manifest(*, is_wide: bool = False) -> VersionManifest:
    """A version that answers one number a sample, or several."""
    base = watched_manifest()
    none = tuple(
        one.model_copy(update={"reference": one.reference.model_copy(update={"predictions": ()})}) for one in SLICES
    )
    baseline = base.baseline.model_copy(update={"predictions": (), "slices": none, "embedding": None})
    output = TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 3 if is_wide else 1))
    return base.model_copy(update={"baseline": baseline, "outputs": (output,)})


def answer_numbers(device: Device, served: ServedModel, answer_id: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    found = (x[:, :1] * 3 + 1).astype(np.float32)
    device.monitor.observe(served, {"x": x}, {"probabilities": found}, 1.0, answer_id)
    return found[:, 0]


def fate(device: Device, answer_id: str, truth: Truth) -> str:
    with pytest.raises(LabelError) as caught:
        device.monitor.tell("tiny", answer_id, truth)
    return caught.value.fate


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(0, 10**6))
def test_counts_are_those_of_all_answers_whose_labels_came_however_samples_come(sizes: list[int], seed: int) -> None:
    manifest = watched_manifest()
    served, device = served_by(manifest), Device()
    truth = np.random.default_rng(seed).integers(0, 3, sum(sizes))
    x, at = _data(sum(sizes), seed), 0
    for number, size in enumerate(sizes):
        part = x[at : at + size]
        outputs = {"probabilities": tiny.probabilities(part)}
        device.monitor.observe(served, {"x": part}, outputs, 1.0, f"a-{number}")
        device.monitor.tell("tiny", f"a-{number}", Truth(labels=truth[at : at + size].tolist()))
        at += size
    [window] = device.windows()
    found, scores = counts_of(window, manifest), tiny.probabilities(x)
    predicted = scores.argmax(axis=1)
    right = predicted == truth
    assert np.array_equal(found.matrix, confusion_matrix(truth, predicted, labels=range(3)))
    assert (window.labelled, window.correct) == (len(truth), right.sum())
    for label in range(3):
        for place, which in enumerate((truth != label, truth == label)):
            bins = score_bins(scores[which, label])
            assert np.array_equal(found.scores[label, place], np.bincount(bins, minlength=SCORE_BINS))
    edges = HistogramEdges.from_lists([manifest.baseline.confidence.edges])
    for place, which in enumerate((slice(None), right)):
        assert np.array_equal(found.confidence[place], Histogram.of(edges, scores[which].max(axis=1)).counts)
    within = (x[:, 0] <= 0, (x[:, 1] > -0.5) & (x[:, 1] <= 0.5), x[:, 1] > 0)
    for place, one in enumerate(within):
        assert found.slice_totals(place).tolist() == [one.sum(), (one & right).sum()]
        assert found.slice_kinds(place).sum(axis=1).tolist() == [(one & right).sum(), *[(one & ~right).sum()] * 2]


def test_scores_are_remembered_past_their_window_and_the_usual_request_s_like_others() -> None:
    manifest = watched_manifest()
    served, device = served_by(manifest), Device()
    x = _data(BUFFER_ANSWERS + 20, 3)
    for number in range(len(x)):
        part = x[number : number + 1]
        device.monitor.observe(served, {"x": part}, {"probabilities": tiny.probabilities(part)}, 1.0, f"a-{number}")
    device.windows()
    truth = tiny.probabilities(x).argmax(axis=1)
    for number, label in enumerate(truth.tolist()):
        device.monitor.tell("tiny", f"a-{number}", Truth(labels=[label]))
    [window] = device.windows()
    found = counts_of(window, manifest)
    assert found.matrix.trace() == len(x)
    assert found.slice_totals(0).tolist() == [(x[:, 0] <= 0).sum()] * 2
    assert found.scores[0, 1].sum() == (truth == 0).sum()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_true_values_become_sums_of_errors_overall_and_in_slices(sizes: list[int]) -> None:
    served, device = served_by(numbers_manifest()), Device()
    draw, x = np.random.default_rng(1), _data(sum(sizes), 7)
    truth, at, answers = draw.normal(1, 3, sum(sizes)), 0, []
    for number, size in enumerate(sizes):
        answers.append(answer_numbers(device, served, f"a-{number}", x[at : at + size]))
        told = device.monitor.tell("tiny", f"a-{number}", Truth(values=truth[at : at + size].tolist()))
        assert (told.valued, told.labelled) == (size, 0)
        at += size
    [window] = device.windows()
    performance = message(window).performance
    assert performance is not None
    assert performance.regression is not None
    whole, found = regression_of(truth, np.concatenate(answers)), performance.regression
    assert (window.labelled, window.correct, performance.counts) == (0, 0, None), "no label, so no accuracy of 0"
    assert found.truth.values == whole.truth.values
    assert found.absolute == pytest.approx(whole.absolute)
    assert found.errors.squares == pytest.approx(whole.errors.squares)
    slices = performance.regression_slices or (None,) * 3
    low = x[:, 0] <= 0
    assert (slices[0].truth.values if slices[0] else 0) == low.sum()


def test_numbers_that_are_none_are_counted_apart() -> None:
    served, device = served_by(numbers_manifest()), Device()
    x = _data(3)
    outputs = {"probabilities": np.array([[1.0], [np.nan], [np.inf]], dtype=np.float32)}
    device.monitor.observe(served, {"x": x}, outputs, 1.0, "a-1")
    device.monitor.tell("tiny", "a-1", Truth(values=[2.0, 2.0, 2.0]))
    performance = message(device.windows()[0]).performance
    assert performance is not None
    assert performance.regression is not None
    assert (performance.regression.truth.values, performance.not_finite) == (1, 2)


def test_metrics_of_the_application_are_summed_by_name_beside_labels_or_alone() -> None:
    served, device = served_by(watched_manifest()), Device()
    for number in range(4):
        predicted = device.answer(served, f"a-{number}", seed=number)
        metrics = {"late_min": float(number)} | ({"cost": 2.5} if number else {})
        labels = predicted if number == 3 else None
        told = device.monitor.tell("tiny", f"a-{number}", Truth(labels=labels, metrics=metrics))
        assert told.metrics == len(metrics)
    assert device.monitor.tell("tiny", "a-0", Truth(labels=device_labels(device, served))).labelled == 1
    assert fate(device, "a-0", Truth(metrics={"cost": 1.0})) == "repeated"
    performance = message(device.windows()[0]).performance
    assert performance is not None
    found = {one.name: (one.sums.values, one.sums.mean, one.sums.most) for one in performance.metrics}
    assert found == {"cost": (3, 2.5, 2.5), "late_min": (4, 1.5, 3.0)}


def device_labels(device: Device, served: ServedModel) -> list[int]:
    return device.answer(served, "another", seed=0)


@pytest.mark.parametrize("is_wide", [True, False])
def test_answers_that_are_neither_label_nor_one_number_can_still_be_measured(is_wide: bool) -> None:
    manifest = numbers_manifest(is_wide=is_wide)
    served, device = served_by(manifest), Device()
    x = _data(2)
    device.monitor.observe(served, {"x": x}, {"probabilities": tiny.probabilities(x)}, 1.0, "a-1")
    if is_wide:
        assert fate(device, "a-1", Truth(values=[1.0, 2.0])) == "misfit"
        assert fate(device, "a-1", Truth(labels=[0, 0])) == "misfit"
        assert device.monitor.tell("tiny", "a-1", Truth(metrics={"bleu": 0.5})).metrics == 1
    else:
        assert fate(device, "a-1", Truth(values=[1.0, 2.0])) == "unknown", "three numbers a sample are not one"


def test_what_does_not_fit_is_refused_whole() -> None:
    device, served = Device(), served_by(watched_manifest())
    predicted = device.answer(served, "a-1", samples=2)
    too_many = {f"m{number}": 1.0 for number in range(MAX_CUSTOM_METRICS + 1)}
    wrong = [
        Truth(values=[1.0, 2.0]),
        Truth(labels=predicted, metrics={"m": float("nan")}),
        Truth(labels=predicted, metrics=too_many),
        Truth(labels=[*predicted, 0], metrics={"m": 1.0}),
    ]
    assert [fate(device, "a-1", truth) for truth in wrong] == ["misfit"] * 4
    numbers = served_by(replace_model(numbers_manifest(), "numbers"))
    answer_numbers(device, numbers, "n-1", _data(2))
    bad = [[1.0], [1.0, float("nan")], [1.0, 2 * MAX_TRUE_VALUE]]
    for values in bad:
        with pytest.raises(LabelError, match="value"):
            device.monitor.tell("numbers", "n-1", Truth(values=values))
    device.monitor.tell("numbers", "n-1", Truth(values=[1.0, 2.0]))
    with pytest.raises(LabelError, match="has come before"):
        device.monitor.tell("numbers", "n-1", Truth(values=[1.0, 2.0]))
    assert [one.model for one in device.windows() if one.performance is not None] == ["numbers"]


def test_names_of_metrics_are_bounded_over_the_messages_of_a_window() -> None:
    device, served = Device(), served_by(watched_manifest())
    for number in range(2):
        device.answer(served, f"a-{number}", seed=number)
    device.monitor.tell("tiny", "a-0", Truth(metrics={f"m{k}": 1.0 for k in range(MAX_CUSTOM_METRICS)}))
    assert fate(device, "a-1", Truth(metrics={"another": 1.0})) == "misfit"
    assert device.monitor.tell("tiny", "a-1", Truth(metrics={"m0": 1.0})).metrics == 1


def replace_model(manifest: VersionManifest, name: str) -> VersionManifest:
    return manifest.model_copy(update={"model": name})


def test_a_window_without_truth_tells_none_and_one_of_200_labels_stays_small() -> None:
    device, served = Device(), served_by(watched_manifest())
    x = _data(200)
    outputs: dict[str, Any] = {"probabilities": tiny.probabilities(x)}
    device.monitor.observe(served, {"x": x}, outputs, 1.0, "a-1")
    [silent] = device.windows()
    assert silent.performance is None
    assert b"performance" not in message(silent).to_bytes()
    device.monitor.tell("tiny", "a-1", Truth(labels=np.random.default_rng(1).integers(0, 3, 200).tolist()))
    [told] = device.windows()
    without = len(message(replace(told, performance=None)).to_bytes())
    assert len(message(told).to_bytes()) - without < 1500
