"""How often is a model right, told without labels: from how sure it says it is. An estimate, with a known failure.

The failure is **concept drift**: it is assumed that an answer of some confidence is right as often as it was on the
baseline. Where the truth for the same input has changed, confidence does not, and the estimate stays where it was
however wrong the model is. On data far from the training data a model may be sure and wrong as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import DriftError
from shoal_numerics.histogram import Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_LABELS = 10
"""Neighbouring bins are joined until so many of the baseline's labels are in each."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often the model was right on data with labels, by how sure it was.

    Attributes:
        answered: histogram of the confidence of all labelled answers; one feature.
        right: the same of those that were right, over the same edges.
    """

    answered: Histogram
    right: Histogram

    def __post_init__(self) -> None:
        """Check that the two belong together.

        Raises:
            DriftError: more than one feature, other edges, no labels, or more right answers than answers in a bin.
        """
        if self.answered.edges.sha256 != self.right.edges.sha256 or self.answered.edges.feature_count != 1:
            message = "Reading a calibration: expected both histograms over the same edges, of the confidence alone."
            raise DriftError(message)
        if not self.answered.counts.any() or (self.right.counts > self.answered.counts).any():
            message = "Reading a calibration: it has no labels, or more right answers than answers. Make it again."
            raise DriftError(message)


@dataclass(frozen=True)
class AccuracyEstimate:
    """What accuracy the window would show if all of its labels came.

    Attributes:
        accuracy: the estimate, 0 to 1; NaN where the window is empty.
        low: lower end of the interval.
        high: upper end of the interval.
        samples: answers with a confidence in the window.
        is_calibrated: whether it rests on labels of the baseline rather than on the model's own word.
    """

    accuracy: float
    low: float
    high: float
    samples: int
    is_calibrated: bool


def estimate_accuracy(
    window: Histogram, calibration: Calibration | None = None, confidence_level: float = 0.95
) -> AccuracyEstimate:
    """Estimate a window's accuracy from the confidence of its answers.

    It fails by construction under concept drift (see the module) and is no measurement: show it as an estimate, and
    let labels overrule it. With a calibration each bin counts with the share that was right there on the baseline;
    bins with few labels are joined to their neighbours, and within these the confidence itself tells apart. Without
    one the confidence is taken at its word, and of models that are surer than they are right it is too high by more
    than the interval. Sources: Guillory et al., ICCV 2021; calibration by bins: Zadrozny and Elkan, ICML 2001.

    Args:
        window: histogram of confidence, 0 to 1, one feature.
        calibration: of the same version, over the same edges.
        confidence_level: of the interval, above 0 and below 1. It holds what the window's answers and the
            baseline's labels leave open, or the bins' width where there are no labels.

    Raises:
        DriftError: other edges than the calibration's, several features, or a level out of its range.
    """
    features, samples = window.edges.feature_count, int(window.counts.sum())
    if features != 1 or not 0 < confidence_level < 1:
        message = (
            f"Estimating accuracy: found {features} features and level {confidence_level}, expected one and 0 to 1."
        )
        raise DriftError(message)
    if samples == 0:
        return AccuracyEstimate(np.nan, np.nan, np.nan, 0, calibration is not None)
    if calibration is None:
        counts, rates, own, labels, width = _at_its_word(window)
    else:
        counts, rates, own, labels, width = _calibrated(window, calibration)
    shares = counts / samples
    accuracy = float(shares @ rates)
    spread = float(np.sqrt(shares @ own / samples + shares**2 @ labels))
    half = NormalDist().inv_cdf((1 + confidence_level) / 2) * spread + float(shares @ width) / 2
    low, high = max(accuracy - half, 0.0), min(accuracy + half, 1.0)
    return AccuracyEstimate(accuracy, low, high, samples, calibration is not None)


def _at_its_word(window: Histogram) -> tuple[NDArray[np.float64], ...]:
    """Return what `_calibrated` does, of a model whose confidence is the share right, and the width of each bin."""
    low, high = _bounds(window)
    rates = 0.5 * (low + high)
    return window.counts.astype(np.float64), rates, rates * (1 - rates), np.zeros_like(rates), high - low


def _bounds(window: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where each bin begins and ends, within 0 to 1."""
    edges = np.clip(window.edges.of_feature(0).astype(np.float64), 0.0, 1.0)
    return np.concatenate([[0.0], edges]), np.concatenate([edges, [1.0]])


def _calibrated(window: Histogram, calibration: Calibration) -> tuple[NDArray[np.float64], ...]:
    """Return of each group of bins: the window's answers, the share right, its variances, and a width of 0.

    The variances are that of one answer and that of what the labels say. Where the window's answers are surer or less
    sure within a group than the baseline's, the share follows.
    """
    if window.edges.sha256 != calibration.answered.edges.sha256:
        message = "Estimating accuracy: window and calibration have other edges. Take those of the same baseline."
        raise DriftError(message)
    starts = _group_starts(calibration.answered.counts)
    middles = 0.5 * np.add(*_bounds(window))
    counts, answered, right = (
        np.add.reduceat(each.counts, starts).astype(np.float64)
        for each in (window, calibration.answered, calibration.right)
    )
    sure, sure_before = (np.add.reduceat(each.counts * middles, starts) for each in (window, calibration.answered))
    moved = np.where(counts > 0, sure / np.maximum(counts, 1) - sure_before / answered, 0.0)
    rates = np.clip(right / answered + moved, 0.0, 1.0)
    # Half an answer is added on either side, so that a group without a mistake is not taken for faultless.
    likely = (right + 0.5) / (answered + 1)
    own = likely * (1 - likely)
    return counts, rates, own, own / answered, np.zeros_like(rates)


def _group_starts(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where groups of at least MIN_LABELS begin; what is left at the end joins the last one."""
    starts, held = [0], 0
    for place, count in enumerate(labels.tolist()):
        if held >= MIN_LABELS:
            starts.append(place)
            held = 0
        held += count
    if len(starts) > 1 and held < MIN_LABELS:
        starts.pop()
    return np.array(starts, dtype=np.int64)
