"""Checks what a window tells of the truth that came back: shapes, bounds, and that counts add up. Pure."""

import base64
import binascii
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_contract.manifest import Baseline
from shoal_contract.performance import PerformanceCounts, RegressionSums
from shoal_contract.telemetry import Window
from shoal_hub.monitoring.quarantine import QuarantineError
from shoal_numerics import PackingError, unpack_counts
from shoal_numerics.classification import ClassCounts
from shoal_numerics.label_counts import LabelCounts, LabelLayout
from shoal_numerics.value_sums import misfit, regression_misfit

MAX_VALUES: Final = 2**31 - 1
"""True values, or values of one metric, in one window."""


def check_performance(window: Window, baseline: Baseline, where: str) -> None:
    """Check what a window tells of its model's performance.

    Args:
        window: A window, whose `correct` is at most its `labelled`.
        baseline: Of the version that it names.
        where: How an error begins.

    Raises:
        QuarantineError: It is of another baseline, can not be read, or does not add up.
    """
    told = window.performance
    if told is None:
        return
    if told.counts is not None:
        _check_labels(read_counts(told, LabelLayout.of(baseline), where), window, where)
    _check_values(told, baseline, where)


def read_counts(told: PerformanceCounts, layout: LabelLayout, where: str) -> LabelCounts:
    """Return the counts of labels; none where none are told.

    Raises:
        QuarantineError: They are malformed, or of a version that has none.
    """
    if told.counts is None:
        return LabelCounts(layout)
    if not layout.size:
        message = f"{where}: counts of labels found, and the version chooses between none that are watched"
        raise QuarantineError("another_baseline", message)
    try:
        vector = unpack_counts(base64.b64decode(told.counts, validate=True), layout.size)
    except (PackingError, binascii.Error) as error:
        raise QuarantineError("unreadable", f"{where}: counts of labels: {error}") from error
    return LabelCounts(layout, vector)


def _check_labels(counts: LabelCounts, window: Window, where: str) -> None:
    totals = np.array([window.labelled, window.correct], dtype=np.int64)
    classes = counts.class_counts()
    problem = (
        _beyond(classes, totals)
        or _scores_beyond(counts.scores, [int(classes.support[label]) for label in counts.layout.scored], totals)
        or _confidence_beyond(counts.confidence, totals)
        or next(filter(None, (_slice_beyond(counts, place, totals) for place in range(counts.layout.slices))), "")
    )
    if problem:
        message = f"{where}: of {window.labelled} labelled samples and {window.correct} right ones, {problem}"
        raise QuarantineError("does_not_add_up", message)


def _beyond(classes: ClassCounts, totals: NDArray[np.int64]) -> str:
    """Return why counts of classes can not be of so many labelled and right samples; empty if they can."""
    found = (classes.labelled, int(classes.true_positives.sum()))
    if (np.array(found) > totals).any():
        return f"classes count {found[0]} and {found[1]}"
    # Whoever is taken for another class is missed by its own.
    wrong = (int(classes.false_positives.sum()), int(classes.false_negatives.sum()))
    return f"classes count {wrong[0]} false positives and {wrong[1]} false negatives" if wrong[0] != wrong[1] else ""


def _scores_beyond(scores: NDArray[np.int64], support: list[int], totals: NDArray[np.int64]) -> str:
    sums = scores.sum(axis=2)
    each = sums.sum(axis=1)
    if len(each) and (each.max() > totals[0] or each.min() != each.max()):
        return f"{each.min()} to {each.max()} have scores"
    if any(sums[place, 1] > most for place, most in enumerate(support)):
        return "a class has more scores than samples"
    return ""


def _confidence_beyond(confidence: NDArray[np.int64], totals: NDArray[np.int64]) -> str:
    if (confidence.sum(axis=1) > totals).any() or (confidence[1] > confidence[0]).any():
        return "the confidence is of more"
    return ""


def _slice_beyond(counts: LabelCounts, place: int, totals: NDArray[np.int64]) -> str:
    found = counts.slice_totals(place)
    if (found > totals).any() or found[1] > found[0]:
        return f"slice {place} has {found[0]} and {found[1]}"
    if not counts.layout.slice_classes:
        return ""
    classes, whole = ClassCounts(*counts.slice_kinds(place)), counts.class_counts()
    is_more = (classes.support > whole.support).any() or (classes.true_positives > whole.true_positives).any()
    problem = "classes count more than the whole has" if is_more else _beyond(classes, found)
    support = [int(classes.support[1])] if counts.layout.slice_scored else []
    problem = problem or _scores_beyond(counts.slice_scores(place), support, found)
    return f"slice {place}: {problem}" if problem else ""


def _check_values(told: PerformanceCounts, baseline: Baseline, where: str) -> None:
    slices, regression = told.regression_slices, told.regression
    if baseline.predictions and (regression is not None or slices is not None or told.not_finite):
        raise QuarantineError("another_baseline", f"{where}: true values found, and the version answers with labels")
    if slices is not None and len(slices) != len(baseline.slices or ()):
        message = f"{where}: true values of {len(slices)} slices found, expected {len(baseline.slices or ())}"
        raise QuarantineError("another_baseline", message)
    sums = [one.sums for one in told.metrics] + ([regression.truth] if regression is not None else [])
    most = max([told.not_finite, *(one.values for one in sums)])
    if most > MAX_VALUES:
        raise QuarantineError("out_of_bounds", f"{where}: {most} values found, at most {MAX_VALUES} expected")
    problem = (
        next(filter(None, (misfit(one) for one in sums)), "")
        or (regression_misfit(regression) if regression is not None else "")
        or next(filter(None, (_part_misfit(part, regression) for part in slices or ())), "")
    )
    if problem:
        raise QuarantineError("does_not_add_up", f"{where}: true values or metrics: {problem}")


def _part_misfit(part: RegressionSums | None, whole: RegressionSums | None) -> str:
    """Return why the values of a slice can not be some of all; empty if they can."""
    if part is None:
        return ""
    if whole is None or part.truth.values > whole.truth.values:
        return f"a slice has {part.truth.values} values, more than there are"
    if part.truth.least < whole.truth.least or part.truth.most > whole.truth.most:
        return "a slice has values beyond the least or largest of all"
    return regression_misfit(part)
