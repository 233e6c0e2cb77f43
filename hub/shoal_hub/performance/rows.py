"""Makes rows of sums: each metric that applies, beside its threshold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session, col, select

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.alerts.conditions import MetricName
from shoal_hub.alerts.metrics import METRICS
from shoal_hub.devices.tables import Device
from shoal_hub.performance.measures import (
    ESTIMATE_NOTE,
    Calibrated,
    Estimate,
    area,
    calibrated,
    classified,
    estimate,
)
from shoal_hub.performance.public import ClassPublic, CustomPublic, EstimatePublic, JudgedPublic, PerformanceRow
from shoal_hub.performance.reading import Forms, Group, Question, read_calibration, read_tallies
from shoal_hub.performance.tally import Part, Tally
from shoal_hub.registry.tables import Version
from shoal_numerics import histogram_quantile
from shoal_numerics.classification import Average, ClassCounts, per_class
from shoal_numerics.value_sums import regression_metrics, standard_deviation

_P95: Final = 0.95


@dataclass
class RowMaker:
    """Makes the rows of one question.

    Attributes:
        session: An open session.
        question: Which windows, and how they are told apart.
        thresholds: Of the model.
        average: How classes become one number; None: the default.
        slice: Of this slice alone.
        has_details: Whether classes and confusion are told.
    """

    session: Session
    question: Question
    thresholds: Mapping[MetricName, float]
    average: Average | None = None
    slice: str | None = None
    has_details: bool = False
    forms: Forms = field(init=False)
    _calibrated: dict[int, Calibrated] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Begin with nothing read."""
        self.forms = Forms(self.session, self.question.model)

    def rows(self) -> Iterator[PerformanceRow]:
        """Yield the rows, in the order of what they are of.

        Raises:
            InvalidInputError: There are too many windows.
        """
        for group, tally in read_tallies(self.session, self.question, self.forms):
            if self.question.by == "slice":
                names = dict.fromkeys(name for one in tally.versions.values() for name in one.form.slices)
                for name in names:
                    yield self._row(group, tally, name)
            else:
                yield self._row(group, tally, self.slice)

    def _row(self, group: Group, tally: Tally, slice_name: str | None) -> PerformanceRow:
        part = tally.whole() if slice_name is None else tally.part(slice_name)
        found = self._measured(part)
        if slice_name is None:
            found |= _of_requests(tally)
        estimated = estimate(part, self.forms.of, self._calibrated_of)
        values = {name: found.get(_FIELDS.get(name, name)) for name in METRICS}
        if estimated is not None:
            values["estimated_accuracy"] = estimated.accuracy
        fields: dict[str, Any] = {**_NOTHING, **found}
        return PerformanceRow(
            **{name: value for name, value in group._asdict().items() if value is not None},
            device_name=self._name_of(group.device_id),
            slice=slice_name,
            windows=tally.windows,
            requests=tally.requests,
            errors=tally.errors,
            not_finite=tally.not_finite,
            estimate=None if estimated is None else _told(estimated),
            custom=_custom(tally) if slice_name is None else [],
            custom_left_out=tally.metrics_left_out,
            judged=dict(self._judged(values)),
            **fields,
            **(self._details(tally, part, slice_name) if self.has_details else {}),
        )

    def _measured(self, part: Part) -> dict[str, Any]:
        found: dict[str, Any] = {"samples": part.samples, "labelled": part.labelled, "correct": part.correct}
        classes = classified(part, self.average)
        if classes is not None:
            found |= {name: getattr(classes, name) for name in ("accuracy", "precision", "recall", "f1", "average")}
        of_scores = area(part)
        if of_scores is not None:
            found |= {"auc": of_scores.area, "auc_error": of_scores.error}
        if part.regression is not None:
            errors = regression_metrics(part.regression)
            found |= {name: getattr(errors, name) for name in ("mae", "rmse", "bias", "r2")}
            found["valued"] = errors.samples
        return found

    def _judged(self, values: Mapping[MetricName, float | None]) -> Iterator[tuple[MetricName, JudgedPublic]]:
        for name, threshold in self.thresholds.items():
            value = values.get(name)
            if value is not None:
                holds = not METRICS[name].is_bad(value, threshold)
                yield name, JudgedPublic(value=value, threshold=threshold, holds=holds)

    def _calibrated_of(self, version: int) -> Calibrated:
        if version not in self._calibrated:
            form = self.forms.of(version)
            if form is None:
                return Calibrated(None, "nothing")
            tally = read_calibration(self.session, self.question.model, version, form, self.question.until)
            self._calibrated[version] = calibrated(form, tally)
        return self._calibrated[version]

    def _name_of(self, device_id: str | None) -> str | None:
        device = None if device_id is None else self.session.get(Device, device_id)
        return None if device is None else device.name

    def _details(self, tally: Tally, part: Part, slice_name: str | None) -> dict[str, Any]:
        matrix = tally.confusion() if slice_name is None else None
        names: list[str] = []
        if tally.versions:
            wanted = select(Version.labels).where(
                Version.model == self.question.model, col(Version.number) == max(tally.versions)
            )
            names = list(self.session.exec(wanted).first() or [])
        return {
            "classes": None if part.classes is None else list(_classes(part.classes, names)),
            "confusion": None if matrix is None else matrix.tolist(),
        }


_FIELDS: Final[Mapping[str, str]] = {"p95_latency": "p95_latency_ms"}
"""Metrics whose field in a row has another name."""
_NOTHING: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("accuracy", "precision", "recall", "f1", "average", "auc", "auc_error")),
    **dict.fromkeys(("mae", "rmse", "bias", "r2", "p95_latency_ms", "error_rate")),
    "valued": 0,
}


def p95_ms(latency: NDArray[np.int64]) -> float | None:
    """Return the 95th percentile of a latency histogram; None of no answers."""
    if not latency.any():
        return None
    totals = histogram_quantile(latency[np.newaxis], LATENCY_EDGES_MS, _P95)
    return float(totals.numerator[0] / totals.weight[0])


def _of_requests(tally: Tally) -> dict[str, Any]:
    share = min(tally.errors, tally.requests) / tally.requests if tally.requests else None
    return {"p95_latency_ms": p95_ms(tally.latency), "error_rate": share}


def _told(one: Estimate) -> EstimatePublic:
    return EstimatePublic(
        accuracy=one.accuracy,
        low=one.low,
        high=one.high,
        samples=one.samples,
        calibrated_by=one.by,
        note=ESTIMATE_NOTE,
    )


def _custom(tally: Tally) -> list[CustomPublic]:
    return [
        CustomPublic(
            name=name,
            values=sums.values,
            mean=sums.mean,
            standard_deviation=standard_deviation(sums),
            least=sums.least,
            most=sums.most,
        )
        for name, sums in sorted(tally.metrics.items())
    ]


def _classes(counts: ClassCounts, names: list[str]) -> Iterator[ClassPublic]:
    shares = [[None if np.isnan(value) else float(value) for value in one] for one in per_class(counts)]
    answered = counts.true_positives + counts.false_positives
    for place, support in enumerate(counts.support.tolist()):
        yield ClassPublic(
            index=place,
            label=names[place] if place < len(names) else str(place),
            support=support,
            answered=int(answered[place]),
            precision=shares[0][place],
            recall=shares[1][place],
            f1=shares[2][place],
        )
