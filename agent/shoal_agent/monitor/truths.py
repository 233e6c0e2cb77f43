"""What the truth that came back in one window comes to: counts of labels, errors of numbers, the application's metrics.

In bounded memory: a vector that the version's layout fixes, made when the first label comes, and sums of at most
`MAX_CUSTOM_METRICS` names.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from shoal_agent.monitor.answers import Answer, LabelError
from shoal_agent.monitor.records import RecordPlan
from shoal_contract.performance import (
    MAX_CUSTOM_METRICS,
    MAX_LABEL_COUNTS_CHARS,
    MAX_METRIC_VALUE,
    MAX_TRUE_VALUE,
    CustomMetric,
    PerformanceCounts,
    RegressionSums,
    ValueSums,
)
from shoal_numerics import pack_counts
from shoal_numerics.label_counts import LabelCounts
from shoal_numerics.value_sums import merge_regression, merge_values, regression_of, sums_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Truth:
    """What an application knows of one answer.

    Attributes:
        labels: The true label of each sample, as places among the model's outputs from 0; None: it tells none.
        values: The true value of each sample, of a version that answers numbers; None: it tells none.
        metrics: What it has measured by itself, by name.
    """

    labels: Sequence[int] | None = None
    values: Sequence[float] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def of_composition(self, doing: str) -> Sequence[int]:
        """Return the labels of a composition's answer, which can be told nothing else.

        Raises:
            LabelError: It is something else.
        """
        if self.labels is None or self.values is not None or self.metrics:
            message = f"{doing}: values or metrics found, expected labels: several models have answered together"
            raise LabelError("misfit", message, "send labels; metrics and values belong to an answer of one model")
        return self.labels


class WindowTruths:
    """Counts of one window. Not safe for concurrent use; `Monitor` holds the lock.

    Args:
        plan: How the version's answers are recorded.
    """

    def __init__(self, plan: RecordPlan) -> None:
        self._plan = plan
        self._labels: LabelCounts | None = None
        self._regression: RegressionSums | None = None
        self._slices: list[RegressionSums | None] = [None] * len(plan.slices)
        self._not_finite = 0
        self._metrics: dict[str, ValueSums] = {}

    def add_labels(self, labels: Sequence[int], predicted: NDArray[np.int32], records: bytes) -> None:
        """Count true labels.

        Args:
            labels: The true label of each sample, among those that the version knows.
            predicted: (n,) int32 labels that were answered.
            records: What was kept beside them; empty: nothing was.
        """
        if self._labels is None:
            self._labels = LabelCounts(self._plan.layout)
        truth = np.asarray(labels, dtype=np.int64)
        # An output may be wider than the baseline's labels; what was chosen beyond them is only not right.
        is_known = predicted < self._plan.layout.classes
        self._labels.add_labels(truth[is_known], predicted[is_known].astype(np.int64))
        if records:
            beside = self._plan.read(records, predicted).within(is_known)
            self._labels.add_beside(truth[is_known], is_right=(truth == predicted)[is_known], beside=beside)

    def add_numbers(self, values: Sequence[float], records: bytes) -> None:
        """Count true values, each at most `MAX_TRUE_VALUE` either side of 0, of answers that are numbers."""
        answers, bits = self._plan.read_numbers(records)
        truth = np.asarray(values, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            is_finite = np.abs(answers) <= MAX_TRUE_VALUE
        self._not_finite += int(np.count_nonzero(~is_finite))
        self._regression = _added(self._regression, truth[is_finite], answers[is_finite])
        for place, known in enumerate(self._slices):
            within = is_finite & (bits >> place & 1).astype(bool)
            self._slices[place] = _added(known, truth[within], answers[within])

    @property
    def metric_names(self) -> set[str]:
        """The metrics of the application that were counted."""
        return set(self._metrics)

    def add_metrics(self, metrics: Mapping[str, float]) -> None:
        """Count what the application has measured of one answer, after `check_truth`."""
        for name, value in metrics.items():
            known, new = self._metrics.get(name), sums_of([value])
            self._metrics[name] = new if known is None else merge_values(known, new)

    def finish(self) -> tuple[PerformanceCounts | None, str]:
        """Return what is told of the window, None where no truth came; and what of it is left out, and why."""
        counts, why = self._packed()
        regression = self._slices if any(one is not None for one in self._slices) else None
        metrics = tuple(CustomMetric(name=name, sums=sums) for name, sums in sorted(self._metrics.items()))
        if counts is None and self._regression is None and not self._not_finite and not metrics:
            return None, why
        told = PerformanceCounts(
            counts=counts,
            regression=self._regression,
            regression_slices=tuple(regression) if regression is not None else None,
            not_finite=self._not_finite,
            metrics=metrics,
        )
        return told, why

    def _packed(self) -> tuple[str | None, str]:
        if self._labels is None:
            return None, ""
        data = base64.b64encode(pack_counts(self._labels.vector)).decode()
        if len(data) <= MAX_LABEL_COUNTS_CHARS:
            return data, ""
        why = f"counts of labels take {len(data)} characters, at most {MAX_LABEL_COUNTS_CHARS} fit"
        log.warning("the counts of a window's labels are left out: %s", why)
        return None, why


def check_truth(truth: Truth, answer: Answer, plan: RecordPlan, window: WindowTruths | None, doing: str) -> int:
    """See that what is told can be of an answer; return how many of its samples were predicted right.

    Args:
        truth: What is told.
        answer: Of which answer.
        plan: How the version's answers are recorded.
        window: The counts of the version's current window, if it has one.
        doing: How an error begins.

    Raises:
        LabelError: It can not.
    """
    correct = 0
    if truth.labels is not None:
        if plan.kind != "classes":
            message = f"{doing}: labels found, and version {answer.stream[1]} chooses between none that are watched"
            raise LabelError("misfit", message, "send values, where it answers a number, or metrics")
        correct = answer.correct(truth.labels, plan.layout.classes, doing)
    if truth.values is not None:
        if plan.kind != "number":
            message = f"{doing}: values found, and version {answer.stream[1]} does not answer one number a sample"
            raise LabelError("misfit", message, "send labels, where it chooses between such, or metrics")
        _check_numbers(answer, truth.values, doing)
    if truth.metrics:
        if answer.is_measured:
            raise LabelError("repeated", f"{doing}: its metrics have come before")
        _check_metrics(truth.metrics, window, doing)
    return correct


def _check_numbers(answer: Answer, values: Sequence[float], doing: str) -> None:
    if answer.predicted is None:
        raise LabelError("repeated", f"{doing}: its truth has come before")
    if len(values) != len(answer.predicted):
        message = f"{doing}: {len(values)} values found, expected {len(answer.predicted)}, one a sample"
        raise LabelError("misfit", message, "send a value for each sample of the request, in its order")
    if not all(abs(one) <= MAX_TRUE_VALUE for one in values):
        message = f"{doing}: a value is not finite or beyond {MAX_TRUE_VALUE:g}"
        raise LabelError("misfit", message, "send finite numbers, in a unit of their size")


def _check_metrics(metrics: Mapping[str, float], window: WindowTruths | None, doing: str) -> None:
    bad = [name for name, value in metrics.items() if not abs(value) <= MAX_METRIC_VALUE]
    if bad:
        message = f"{doing}: metric {bad[0]} is not finite or beyond {MAX_METRIC_VALUE:g}"
        raise LabelError("misfit", message, "send finite numbers, in a unit of their size")
    names = metrics.keys() | (window.metric_names if window is not None else set())
    if len(names) > MAX_CUSTOM_METRICS:
        message = f"{doing}: {len(names)} names of metrics in one window of a version, at most {MAX_CUSTOM_METRICS}"
        raise LabelError("misfit", message, "measure fewer things, or put several into one number")


def _added(
    known: RegressionSums | None, truth: NDArray[np.float64], answers: NDArray[np.float64]
) -> RegressionSums | None:
    if not len(truth):
        return known
    new = regression_of(truth, answers)
    return new if known is None else merge_regression(known, new)
