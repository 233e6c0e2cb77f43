"""Accuracy without labels: what the interval promises, and the failure that no interval covers."""

import numpy as np
import pytest

from shoal_numerics import Calibration, DriftError, Histogram, HistogramEdges, estimate_accuracy

EDGES = HistogramEdges.uniform(0, 1, 50)


def answers(random: np.random.Generator, n: int, a: float = 6, b: float = 2) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and whether each answer is right: of a model that is surer than it is right."""
    confidence = random.beta(a, b, n)
    return confidence, random.random(n) < confidence**2


def calibration(random: np.random.Generator, n: int) -> Calibration:
    confidence, is_right = answers(random, n)
    return Calibration(Histogram.of(EDGES, confidence), Histogram.of(EDGES, confidence[is_right]))


@pytest.mark.parametrize("labels", [200, 2000])
@pytest.mark.parametrize("shape", [(6.0, 2.0), (3.0, 3.0)])
def test_the_interval_has_the_true_accuracy_nineteen_times_in_twenty(labels: int, shape: tuple[float, float]) -> None:
    random, held = np.random.default_rng(3), 0
    for _ in range(300):
        known = calibration(random, labels)
        confidence, is_right = answers(random, 1000, *shape)
        found = estimate_accuracy(Histogram.of(EDGES, confidence), known)
        held += found.low <= is_right.mean() <= found.high
    assert held / 300 >= 0.9


def test_a_harder_window_is_estimated_lower_and_an_uncalibrated_model_is_believed_too_much() -> None:
    random = np.random.default_rng(5)
    known = calibration(random, 20_000)
    easy, hard = answers(random, 4000), answers(random, 4000, 3, 3)
    found = [estimate_accuracy(Histogram.of(EDGES, confidence), known) for confidence, _ in (easy, hard)]
    assert found[1].high < found[0].low
    plain = estimate_accuracy(Histogram.of(EDGES, hard[0]))
    assert not plain.is_calibrated
    assert plain.low > hard[1].mean() + 0.1
    assert plain.accuracy == pytest.approx(hard[0].mean(), abs=0.01)


def test_concept_drift_is_not_seen_as_the_docstring_says() -> None:
    random = np.random.default_rng(6)
    known = calibration(random, 20_000)
    confidence, is_right = answers(random, 4000)
    found = estimate_accuracy(Histogram.of(EDGES, confidence), known)
    is_right_now = is_right & (random.random(4000) < 0.5)
    assert found.low <= is_right.mean() <= found.high
    assert found.low > is_right_now.mean() + 0.2


def test_the_word_of_a_calibrated_model_is_enough() -> None:
    random, held = np.random.default_rng(8), 0
    for _ in range(300):
        confidence = random.beta(5, 2, 500)
        is_right = random.random(500) < confidence
        found = estimate_accuracy(Histogram.of(EDGES, confidence))
        held += found.low <= is_right.mean() <= found.high
    assert held / 300 >= 0.93


def test_faultless_labels_leave_room_for_a_mistake() -> None:
    sure = Histogram.of(EDGES, np.full(40, 0.99))
    found = estimate_accuracy(sure, Calibration(sure, sure))
    assert found.accuracy == found.high == 1.0
    assert 0.9 < found.low < 0.98


def test_bins_with_few_labels_are_joined() -> None:
    # Five labels at 0.85, all of them wrong by chance, stand with the many above them, less what they are less sure.
    confidence = np.concatenate([np.full(5, 0.85), np.full(5000, 0.91)])
    known = Calibration(Histogram.of(EDGES, confidence), Histogram.of(EDGES, confidence[5:]))
    assert estimate_accuracy(Histogram.of(EDGES, np.full(100, 0.85)), known).accuracy == pytest.approx(0.94, abs=0.005)


def test_an_empty_window_has_no_accuracy() -> None:
    found = estimate_accuracy(Histogram.empty(EDGES))
    assert np.isnan(found.accuracy)
    assert found.samples == 0


def test_what_does_not_belong_together_is_refused() -> None:
    some, other = Histogram.of(EDGES, [0.5, 0.6]), Histogram.of(HistogramEdges.uniform(0, 1, 9), [0.5, 0.6])
    with pytest.raises(DriftError, match="same edges"):
        Calibration(some, other)
    with pytest.raises(DriftError, match="more right answers"):
        Calibration(some, some.merge(some))
    with pytest.raises(DriftError, match="no labels"):
        Calibration(Histogram.empty(EDGES), Histogram.empty(EDGES))
    with pytest.raises(DriftError, match="same baseline"):
        estimate_accuracy(other, Calibration(some, some))
    with pytest.raises(DriftError, match="level 1,"):
        estimate_accuracy(some, confidence_level=1)
    with pytest.raises(DriftError, match="2 features"):
        estimate_accuracy(Histogram.empty(HistogramEdges.from_lists([[0.5], [0.5]])))
