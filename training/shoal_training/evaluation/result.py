"""What an evaluation came to, as `evaluation.json`: figures with intervals, by class, by slice, beside the champion."""

from typing import Literal

from shoal_compression.values import Record

Verdict = Literal["better", "no worse", "worse", "uncertain"]


class Figure(Record):
    """One metric on some rows."""

    name: str
    value: float
    low: float | None = None
    """Of the 95 % interval; None: it has none, for want of rows."""
    high: float | None = None
    is_rising: bool = True
    """Whether more is better."""

    def text(self) -> str:
        """Return the value with its interval."""
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


class ClassFigures(Record):
    """What was measured of one class against all others."""

    label: str
    rows: int
    precision: float
    recall: float
    f1: float
    auc_roc: float | None


class Curve(Record):
    """A line of a picture: x rising."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class Reliability(Record):
    """Rows of one bin of confidence; see `calibration`."""

    confidence: float
    accuracy: float
    rows: int


class SliceFigures(Record):
    """What was measured of one slice."""

    name: str
    column: str
    rows: int
    is_small: bool
    """Whether it has so few rows that its figures say little."""
    figures: tuple[Figure, ...]
    low: float | None = None
    """Of the condition: values lie above it, at most at `high`, or are `equals`; all None: it is none on a number."""
    high: float | None = None
    equals: float | None = None


class Comparison(Record):
    """The new model beside the champion, on the same rows."""

    champion: str
    metric: str
    is_rising: bool
    champion_value: float
    value: float
    difference: float
    """By how much the new one is better: above 0 it is, whichever way the metric runs."""
    low: float | None
    """Of the difference's 95 % interval, from paired resamples."""
    high: float | None
    margin: float
    verdict: Verdict
    mcnemar_p: float | None = None
    """Of the exact test on rows that one of both has right; None: the answers are no classes."""
    rows: int


class FoldSpread(Record):
    """A metric over all folds."""

    name: str
    mean: float
    deviation: float
    """Sample standard deviation over folds."""
    values: tuple[float, ...]


class EvaluationResult(Record):
    """An evaluation."""

    task: str
    rows: int
    metrics: dict[str, float]
    figures: tuple[Figure, ...] = ()
    classes: tuple[ClassFigures, ...] = ()
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """Rows by truth, then by choice."""
    reliability: tuple[Reliability, ...] = ()
    roc: tuple[Curve, ...] = ()
    precision_recall: tuple[Curve, ...] = ()
    answers: Curve | None = None
    """Of a regression: truths, and what was said, of some rows."""
    threshold: float | None = None
    """Of an anomaly's scores."""
    slices: tuple[SliceFigures, ...] = ()
    champion: Comparison | None = None
    notes: tuple[str, ...] = ()
    """What could not be measured, and why; what to be careful about."""

    def limited(self) -> dict[str, float]:
        """Return all that limits may name: the metrics, and of each class `precision[…]`, `recall[…]`, `f1[…]`."""
        by_class = {
            f"{name}[{one.label}]": float(getattr(one, name))
            for one in self.classes
            for name in ("precision", "recall", "f1")
        }
        return self.metrics | by_class
