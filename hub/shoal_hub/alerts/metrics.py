"""The metrics that rules and models have thresholds for. A further one is a name in `MetricName` and an entry here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

import numpy as np
from sqlmodel import Session

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.alerts.conditions import GroupBy, MetricName
from shoal_hub.alerts.minutes import Place
from shoal_hub.alerts.tallies import Counts, WindowTallies
from shoal_hub.performance.measures import area, classified
from shoal_hub.performance.tally import Part, Tally
from shoal_numerics import histogram_quantile
from shoal_numerics.value_sums import regression_metrics

_P95: Final = 0.95
MAX_AREA_ERROR: Final = 0.05
"""An area under the ROC curve that bins leave open by more is compared with no threshold."""
Labels = tuple[tuple[str, str], ...]
"""Names and values of what a reading is of, in the order of the rule's `group_by`."""


class Measured(NamedTuple):
    """A metric of one group; `value` is None where there is nothing to make it of.

    Attributes:
        labels: Of which group.
        model: Of which model it is, by whose threshold it is judged.
        value: The metric.
        samples: Of how many requests or samples.
    """

    labels: Labels
    model: str
    value: float | None
    samples: int


@dataclass(frozen=True)
class Look:
    """What a metric is read of.

    Attributes:
        session: An open session, for metrics that are not of windows.
        tallies: What windows come to.
        since: From when on, by the hub's clock.
        now: The clock.
        model: Of this one; None: of each.
        group_by: What is told apart; the model always is.
    """

    session: Session
    tallies: WindowTallies
    since: datetime
    now: datetime
    model: str | None
    group_by: tuple[GroupBy, ...]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        default: Its threshold where none is set for a model; None: without one, nothing is too bad.
        is_floor: Whether less than the threshold is bad; else more is.
        unit: As a person reads it after a number.
        of: What the samples are, in words.
        measure: Reads it, group by group.
    """

    default: float | None
    is_floor: bool
    unit: str
    of: str
    measure: Callable[[Look], Iterator[Measured]]

    def is_bad(self, value: float, threshold: float) -> bool:
        """Whether a value is beyond a threshold; on it, it is not."""
        return value < threshold if self.is_floor else value > threshold


def _of_counts(read: Callable[[Counts], tuple[float | None, int]]) -> Callable[[Look], Iterator[Measured]]:
    def measure(look: Look) -> Iterator[Measured]:
        sums: dict[tuple[str, Labels], Counts] = {}
        for place, counts in look.tallies.over(look.session, look.since, look.now).items():
            if look.model is None or place.model == look.model:
                key = (place.model, labels_of(place, look.group_by))
                sums[key] = sums[key] + counts if key in sums else counts
        for (model, labels), counts in sorted(sums.items()):
            yield Measured(labels, model, *read(counts))

    return measure


def _of_truths(read: Callable[[Part], tuple[float | None, int]]) -> Callable[[Look], Iterator[Measured]]:
    def measure(look: Look) -> Iterator[Measured]:
        for model, labels, tally in _grouped(look, "truths"):
            yield Measured(labels, model, *read(tally.whole()))

    return measure


def _estimated(look: Look) -> Iterator[Measured]:
    for model, labels, tally in _grouped(look, "answers"):
        found = look.tallies.truths.estimated(look.session, model, tally, look.now)
        if found is not None:
            yield Measured(labels, model, found.accuracy, found.samples)


def _grouped(look: Look, kind: Literal["truths", "answers"]) -> list[tuple[str, Labels, Tally]]:
    """Return what the windows of each group come to, by model and labels; rules that look alike add up once a look."""
    truths, key = look.tallies.truths, (kind, look.since, look.now, look.model, look.group_by)
    if key not in truths.grouped:
        read = truths.truths if kind == "truths" else truths.answers
        found = read(look.session, look.since, look.now)
        groups: dict[tuple[str, Labels], Tally] = {}
        for place, minutes in found.items():
            if look.model is None or place.model == look.model:
                tally = groups.setdefault((place.model, labels_of(place, look.group_by)), Tally())
                truths.add(look.session, tally, place, minutes)
        truths.grouped[key] = [(model, labels, groups[model, labels]) for model, labels in sorted(groups)]
    return truths.grouped[key]


def _of_classes(name: Literal["precision", "recall", "f1"]) -> Callable[[Look], Iterator[Measured]]:
    def read(part: Part) -> tuple[float | None, int]:
        metrics = classified(part)
        value: float | None = None if metrics is None else getattr(metrics, name)
        return value, part.labelled

    return _of_truths(read)


def _auc(part: Part) -> tuple[float | None, int]:
    """Return the area under the ROC curve, unless bins leave too much of it open."""
    found = area(part)
    return (None if found is None or found.error > MAX_AREA_ERROR else found.area), part.labelled


def _of_values(name: Literal["mae", "rmse"]) -> Callable[[Look], Iterator[Measured]]:
    def read(part: Part) -> tuple[float | None, int]:
        if part.regression is None:
            return None, 0
        metrics = regression_metrics(part.regression)
        value: float = getattr(metrics, name)
        return value, metrics.samples

    return _of_truths(read)


def labels_of(place: Place, group_by: tuple[GroupBy, ...]) -> Labels:
    """Return the labels of a place; the model is always among them, since thresholds are by model."""
    known = {"model": place.model, "version": str(place.version), "group": place.group}
    return tuple((name, known[name]) for name in ("model", "version", "group") if name in {"model", *group_by})


def _share(part: int, of: int) -> tuple[float | None, int]:
    return (min(part, of) / of if of else None), of


def _p95(counts: Counts) -> tuple[float | None, int]:
    answers = int(counts.latency.sum())
    if not answers:
        return None, 0
    totals = histogram_quantile(counts.latency[np.newaxis], LATENCY_EDGES_MS, _P95)
    return float(totals.numerator[0] / totals.weight[0]), answers


METRICS: Final[Mapping[MetricName, Metric]] = {
    "accuracy": Metric(
        default=0.85,
        is_floor=True,
        unit="",
        of="labelled samples",
        measure=_of_counts(lambda counts: _share(counts.correct, counts.labelled)),
    ),
    "precision": Metric(default=0.8, is_floor=True, unit="", of="labelled samples", measure=_of_classes("precision")),
    "recall": Metric(default=0.8, is_floor=True, unit="", of="labelled samples", measure=_of_classes("recall")),
    "f1": Metric(default=None, is_floor=True, unit="", of="labelled samples", measure=_of_classes("f1")),
    "auc": Metric(default=None, is_floor=True, unit="", of="labelled samples", measure=_of_truths(_auc)),
    "mae": Metric(default=None, is_floor=False, unit="", of="true values", measure=_of_values("mae")),
    "rmse": Metric(default=None, is_floor=False, unit="", of="true values", measure=_of_values("rmse")),
    "estimated_accuracy": Metric(default=0.85, is_floor=True, unit="", of="answers", measure=_estimated),
    "p95_latency": Metric(default=100.0, is_floor=False, unit=" ms", of="answers", measure=_of_counts(_p95)),
    "error_rate": Metric(
        default=0.05,
        is_floor=False,
        unit="",
        of="requests",
        measure=_of_counts(lambda counts: _share(counts.errors, counts.requests)),
    ),
}
