"""What the API says of a model's performance."""

from datetime import datetime

from pydantic import BaseModel

from shoal_hub.alerts.conditions import MetricName
from shoal_hub.performance.measures import CalibratedBy
from shoal_hub.performance.reading import By
from shoal_numerics.classification import Average


class EstimatePublic(BaseModel):
    """What the accuracy is taken to be from how sure the model is, without labels. No measurement: see `note`."""

    accuracy: float
    low: float
    """Lower end of the interval of 95 %."""
    high: float
    samples: int
    calibrated_by: CalibratedBy
    """`labels` that came back, `held_out` data of the bundle, or `nothing`: the model is taken at its word."""
    note: str


class JudgedPublic(BaseModel):
    """A metric beside its threshold."""

    value: float
    threshold: float
    holds: bool


class CustomPublic(BaseModel):
    """What applications have measured by themselves."""

    name: str
    values: int
    mean: float
    standard_deviation: float | None
    least: float
    most: float


class ClassPublic(BaseModel):
    """One class: `support` samples are truly of it, `answered` were taken for it."""

    index: int
    label: str
    support: int
    answered: int
    precision: float | None
    recall: float | None
    f1: float | None


class PerformanceRow(BaseModel):
    """A model's performance on some windows; what does not apply, or of which nothing is known, is null."""

    version: int | None = None
    device_id: str | None = None
    device_name: str | None = None
    group: str | None = None
    """The devices' home group; empty: none."""
    slice: str | None = None
    begins_at: datetime | None = None
    """Of a stretch of time."""
    windows: int
    requests: int
    errors: int
    samples: int
    labelled: int
    """Samples whose true label came back."""
    correct: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    average: Average | None
    """How precision, recall and F1 of classes became one number; null: no label came."""
    auc: float | None
    """Area under the ROC curve."""
    auc_error: float | None
    """How far `auc` is from the area of the scores themselves at most: they are counted in bins."""
    valued: int
    """Samples whose true value came back."""
    mae: float | None
    rmse: float | None
    bias: float | None
    """Mean of answer less truth."""
    r2: float | None
    not_finite: int
    """Samples with a true value whose answer was no finite number; they are in no metric."""
    p95_latency_ms: float | None
    error_rate: float | None
    estimate: EstimatePublic | None
    custom: list[CustomPublic]
    custom_left_out: int
    """Values of metrics beyond the 64 that are added up."""
    judged: dict[MetricName, JudgedPublic]
    """Those of the metrics that have a threshold."""
    classes: list[ClassPublic] | None = None
    """Where details are asked for."""
    confusion: list[list[int]] | None = None
    """Rows are true classes, columns answered ones; of one version of at most 64 classes."""


class PerformancePublic(BaseModel):
    """Rows of performance, and what they are judged by."""

    model: str
    since: datetime
    until: datetime
    by: By
    step_s: float | None = None
    """How long a stretch of time is, where these are told apart."""
    thresholds: dict[MetricName, float]
    rows: list[PerformanceRow]
    has_more: bool
    """Whether further rows are left out by `limit`."""
