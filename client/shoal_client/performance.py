"""How right a model is: by labels that came back, and by an estimate without them."""

from datetime import datetime
from typing import Literal

from shoal_client.fleet import Value
from shoal_client.transport import Transport

PerformanceBy = Literal["model", "version", "device", "group", "slice", "window"]
Average = Literal["binary", "macro", "micro", "weighted"]


class AccuracyEstimate(Value):
    """What the accuracy is taken to be without labels, and what it rests on; `note` says when it is wrong."""

    accuracy: float
    low: float
    high: float
    samples: int
    calibrated_by: str
    note: str


class Judged(Value):
    """A metric beside its threshold."""

    value: float
    threshold: float
    holds: bool


class CustomMetric(Value):
    """What applications have measured by themselves."""

    name: str
    values: int
    mean: float
    standard_deviation: float | None
    least: float
    most: float


class ClassPerformance(Value):
    """One class: `support` samples are truly of it, `answered` were taken for it."""

    index: int
    label: str
    support: int
    answered: int
    precision: float | None
    recall: float | None
    f1: float | None


class PerformanceRow(Value):
    """A model's performance on some windows; what does not apply is None."""

    version: int | None
    device_id: str | None
    device_name: str | None
    group: str | None
    slice: str | None
    begins_at: datetime | None
    windows: int
    requests: int
    errors: int
    samples: int
    labelled: int
    correct: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    average: str | None
    auc: float | None
    auc_error: float | None
    valued: int
    mae: float | None
    rmse: float | None
    bias: float | None
    r2: float | None
    not_finite: int
    p95_latency_ms: float | None
    error_rate: float | None
    estimate: AccuracyEstimate | None
    custom: list[CustomMetric]
    custom_left_out: int
    judged: dict[str, Judged]
    classes: list[ClassPerformance] | None
    confusion: list[list[int]] | None


class PerformanceReport(Value):
    """Rows of performance, and what they are judged by."""

    model: str
    since: datetime
    until: datetime
    by: str
    step_s: float | None = None
    thresholds: dict[str, float]
    rows: list[PerformanceRow]
    has_more: bool


class Performance:
    """How right models are."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def read(
        self,
        model: str,
        *,
        by: PerformanceBy = "model",
        version: int | None = None,
        device: str | None = None,
        group: str | None = None,
        slice_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        step_s: int | None = None,
        average: Average | None = None,
        detail: bool = False,
        limit: int = 200,
    ) -> PerformanceReport:
        """Return how right a model is, of the last day unless another time is asked for.

        Args:
            model: The model.
            by: What rows tell apart; `group` is the devices' home group, `window` equal stretches of time.
            version: Of this one alone.
            device: Of this device alone, by id.
            group: Of the devices alone that are in this group now.
            slice_name: Of the samples of this slice alone.
            since: Of windows that ended then or later; aware.
            until: Of windows that ended before; aware.
            step_s: How long a stretch of time is.
            average: How precision, recall and F1 of classes become one number.
            detail: With each class and the confusion matrix.
            limit: At most so many rows.
        """
        params = {
            "model": model,
            "by": by,
            "version": version,
            "device": device,
            "group": group,
            "slice": slice_name,
            "since": since.isoformat() if since else None,
            "until": until.isoformat() if until else None,
            "step_s": step_s,
            "average": average,
            "detail": "true" if detail else None,
            "limit": limit,
        }
        given = {name: value for name, value in params.items() if value is not None}
        return self._transport.call("GET", "/performance", PerformanceReport, params=given)
