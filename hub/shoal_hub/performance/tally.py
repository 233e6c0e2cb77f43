"""Adds up what windows tell of a model: answers, labels, true values, confidence. In memory that windows do not grow.

Versions are kept apart as long as they are added to, as their labels and edges may differ, and are put together once.
"""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal_contract.manifest import Baseline
from shoal_contract.performance import CustomMetric, PerformanceCounts, RegressionSums, ValueSums
from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.monitoring.performance_check import read_counts
from shoal_numerics import Histogram, HistogramEdges
from shoal_numerics.accuracy_estimate import Calibration
from shoal_numerics.classification import ClassCounts
from shoal_numerics.label_counts import LabelCounts, LabelLayout
from shoal_numerics.value_sums import merge_regression, merge_values

MAX_METRICS: Final = 64
"""Names of an application's own metrics that are added up; of further ones it is counted how many there were."""


@dataclass(frozen=True)
class VersionForm:
    """What a version's counts are of.

    Attributes:
        layout: Of its counts of labels.
        confidence: Edges of its confidence.
        slices: Names of its slices.
        calibration: How often it was right on held-out data, by its confidence; None: that is not known.
    """

    layout: LabelLayout
    confidence: HistogramEdges
    slices: tuple[str, ...]
    calibration: Calibration | None = None

    @classmethod
    def of(cls, baseline: Baseline) -> "VersionForm":
        """Return the form of a version with this baseline."""
        edges, told = HistogramEdges.from_lists([baseline.confidence.edges]), baseline.calibration
        form = cls(LabelLayout.of(baseline), edges, tuple(one.name for one in baseline.slices or ()))
        if told is None or not any(told.answered):
            return form
        answered, right = (np.array(counts, dtype=np.int64) for counts in (told.answered, told.right))
        return replace(form, calibration=Calibration(form.histogram(answered), form.histogram(right)))

    def histogram(self, counts: NDArray[np.int64]) -> Histogram:
        """Return counts of confidence as a histogram."""
        return Histogram(self.confidence, counts.astype(np.int64), np.zeros(1, dtype=np.int64))


@dataclass(frozen=True)
class Told:
    """What one window tells, as it is stored.

    Attributes:
        version: What has answered.
        requests: Answered ones and errors.
        errors: Of them.
        samples: That were counted.
        latency: (14,) counts over `LATENCY_EDGES_MS`.
        confidence: Counts over the version's edges.
        labelled: Samples whose label came back.
        correct: Of them.
        performance: contract `PerformanceCounts`, as JSON or read, None where no more is told.
        slices: contract `SliceCounts` of each slice.
    """

    version: int
    requests: int
    errors: int
    samples: int
    latency: list[int]
    confidence: list[int]
    labelled: int
    correct: int
    performance: Mapping[str, Any] | PerformanceCounts | None
    slices: list[Mapping[str, Any]] | None = None


@dataclass
class VersionTally:
    """Sums of one version's windows.

    Attributes:
        form: What the counts are of.
        labels: Of its labels; None until the first came.
        confidence: Of all answers, whether or not their labels came.
        slices: The same of each slice, and in the last column their samples; where slices were asked for.
    """

    form: VersionForm
    labels: LabelCounts | None = None
    confidence: NDArray[np.int64] = field(init=False)
    slices: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        bins = self.form.layout.confidence_bins
        self.confidence = np.zeros(bins, dtype=np.int64)
        self.slices = np.zeros((len(self.form.slices), bins + 1), dtype=np.int64)

    def add(self, told: Told, performance: PerformanceCounts | None) -> None:
        """Add a window's counts."""
        if len(told.confidence) == len(self.confidence):
            self.confidence += np.array(told.confidence, dtype=np.int64)
        for place, one in enumerate(told.slices or ()):
            self.slices[place] += np.array([*one["confidence"], one["samples"]], dtype=np.int64)
        if performance is not None and performance.counts is not None:
            counts = read_counts(performance, self.form.layout, "adding up windows")
            if self.labels is None:
                self.labels = counts
            else:
                self.labels.vector += counts.vector

    def calibration(self) -> Calibration | None:
        """Return how often the version was right, by its confidence, where labels came with one."""
        if self.labels is None or not self.labels.confidence.any():
            return None
        answered, right = self.labels.confidence
        return Calibration(self.form.histogram(answered), self.form.histogram(right))


@dataclass
class Tally:
    """Sums of some windows of one model."""

    windows: int = 0
    requests: int = 0
    errors: int = 0
    samples: int = 0
    labelled: int = 0
    correct: int = 0
    latency: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(LATENCY_EDGES_MS) + 1, dtype=np.int64))
    versions: dict[int, VersionTally] = field(default_factory=dict)
    regression: RegressionSums | None = None
    slices: dict[str, RegressionSums] = field(default_factory=dict)
    not_finite: int = 0
    metrics: dict[str, ValueSums] = field(default_factory=dict)
    metrics_left_out: int = 0

    def add(self, told: Told, form: VersionForm) -> None:
        """Add what a window tells."""
        self.windows += 1
        self.requests += told.requests
        self.errors += told.errors
        self.samples += told.samples
        self.labelled += told.labelled
        self.correct += told.correct
        if len(told.latency) == len(self.latency):
            self.latency += np.array(told.latency, dtype=np.int64)
        performance = told.performance
        if performance is not None and not isinstance(performance, PerformanceCounts):
            performance = PerformanceCounts.model_validate(performance)
        version = self.versions.get(told.version)
        if version is None:
            version = self.versions[told.version] = VersionTally(form)
        version.add(told, performance)
        if performance is not None:
            self._add_values(performance, form)

    def _add_values(self, performance: PerformanceCounts, form: VersionForm) -> None:
        self.not_finite += performance.not_finite
        self.regression = merged(self.regression, performance.regression)
        for name, part in zip(form.slices, performance.regression_slices or (), strict=False):
            whole = merged(self.slices.get(name), part)
            if whole is not None:
                self.slices[name] = whole
        for metric in performance.metrics:
            self._add_metric(metric)

    def _add_metric(self, metric: CustomMetric) -> None:
        known = self.metrics.get(metric.name)
        if known is None and len(self.metrics) >= MAX_METRICS:
            self.metrics_left_out += 1
            return
        self.metrics[metric.name] = metric.sums if known is None else merge_values(known, metric.sums)

    def whole(self) -> "Part":
        """Return what all samples come to."""
        known = {number: one for number, one in self.versions.items() if one.labels is not None}
        return Part(
            samples=self.samples,
            labelled=self.labelled,
            correct=self.correct,
            classes=_added(one.labels.class_counts() for one in known.values() if one.labels is not None),
            scores=_by_class(
                pair
                for one in known.values()
                if one.labels is not None
                for pair in zip(one.form.layout.scored, one.labels.scores, strict=True)
            ),
            regression=self.regression,
            confidence={number: one.confidence for number, one in self.versions.items()},
        )

    def part(self, name: str) -> "Part":
        """Return what the samples of one slice come to, over the versions that have a slice of this name."""
        placed = [(n, one, one.form.slices.index(name)) for n, one in self.versions.items() if name in one.form.slices]
        told = [(one.labels, place) for _, one, place in placed if one.labels is not None]
        totals = [labels.slice_totals(place).tolist() for labels, place in told]
        return Part(
            samples=sum(int(one.slices[place, -1]) for _, one, place in placed),
            labelled=sum(labelled for labelled, _ in totals),
            correct=sum(correct for _, correct in totals),
            classes=_added(ClassCounts(*labels.slice_kinds(place)) for labels, place in told),
            scores=_by_class((1, scores) for labels, place in told for scores in labels.slice_scores(place)),
            regression=self.slices.get(name),
            confidence={number: one.slices[place, :-1] for number, one, place in placed},
        )

    def confusion(self) -> NDArray[np.int64] | None:
        """Return the (classes, classes) confusion of the version that answered, None of several or of many classes."""
        [*versions] = self.versions.values()
        if len(versions) != 1 or versions[0].labels is None or not versions[0].form.layout.has_confusion:
            return None
        return versions[0].labels.matrix


def merged(first: RegressionSums | None, second: RegressionSums | None) -> RegressionSums | None:
    """Return the sums of both, of which either may be missing."""
    if first is None or second is None:
        return first or second
    return merge_regression(first, second)


@dataclass(frozen=True)
class Part:
    """What the samples of a row come to.

    Attributes:
        samples: That were counted.
        labelled: Whose label came back.
        correct: Of them.
        classes: Of all versions, class by class; None: no label came.
        scores: Of each scored class, (2, bins) int64 negatives and positives.
        regression: Errors of true values; None: none came.
        confidence: Of each version's answers, over its own edges.
    """

    samples: int
    labelled: int
    correct: int
    classes: ClassCounts | None
    scores: Mapping[int, NDArray[np.int64]]
    regression: RegressionSums | None
    confidence: Mapping[int, NDArray[np.int64]]


def _added(counts: Iterable[ClassCounts]) -> ClassCounts | None:
    found = [one for one in counts if len(one.true_positives)]
    return reduce(operator.add, found) if found else None


def _by_class(scores: Iterable[tuple[int, NDArray[np.int64]]]) -> dict[int, NDArray[np.int64]]:
    found: dict[int, NDArray[np.int64]] = {}
    for label, counts in scores:
        found[label] = found[label] + counts if label in found else counts
    return found
