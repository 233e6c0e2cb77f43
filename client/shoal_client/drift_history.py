"""What the API says of the history of drift, and of what is behind it."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from shoal_client.fleet import LeadingFeature, MovedEmbedding, Value

Series = list[float | None]
"""A value for each period; None where it is not known or was not tested."""


class HistoryPeriod(Value):
    """An hour or day: what was counted in it, None where that is not known, and how many devices show drift."""

    started_at: datetime
    windows: int | None = None
    requests: int | None = None
    samples: int | None = None
    errors: int | None = None
    labelled: int | None = None
    correct: int | None = None
    is_drifted: bool | None = None
    """Of all of it together."""
    devices: int | None = None
    """That were tested."""
    devices_drifted: int | None = None
    embedding: MovedEmbedding | None = None


class FeatureHistory(Value):
    """One feature, period by period: what tests say of all windows together, and of single devices."""

    name: str
    kind: str
    ks: Series
    resolution: Series
    """How far the distance of the raw values may lie above `ks`."""
    p_value: Series
    psi: Series
    jensen_shannon: Series
    chi_squared: Series
    mean_change: Series
    variance_ratio: Series
    missing_ratio: Series
    is_drifted: list[bool | None]
    devices_drifted: list[int | None]
    device_ks_median: Series
    device_ks_p90: Series


class Thresholds(Value):
    """What the plain rule asks of a feature."""

    psi: float
    p_value: float
    min_samples: int
    min_features: int


class DriftHistory(Value):
    """How a version's inputs have lain against its baseline over time."""

    model: str
    version: int
    by: str
    of: str
    """Whose windows: fleet, device d-…, group north, tag site=paris, query …"""
    since: datetime
    until: datetime
    source: str
    """`counts`: all windows of a period are merged; `scores`: what tests said of devices' days is all that is known."""
    thresholds: Thresholds
    periods: list[HistoryPeriod]
    features: list[FeatureHistory]
    features_in_all: int


class CauseHistogram(Value):
    """Counts of a feature's bins: of the reference, before drift began and since then. The outer bins are open."""

    edges: list[float]
    reference: list[int]
    before: list[int]
    after: list[int]


class CauseFeature(LeadingFeature):
    """A feature, by what tests say of the time since drift began."""

    is_drifted: bool = False
    before_ks: float | None = None
    before_psi: float | None = None
    devices_drifted: int = 0
    histogram: CauseHistogram | None = None


class CauseDevice(Value):
    """A device that shows drift."""

    id: str
    name: str
    group: str
    since: datetime | None = None
    samples: int = 0
    ks: float | None = None
    psi: float | None = None
    features: list[str] = Field(default_factory=list)


class CauseCohort(Value):
    """What devices have in common, and how many of them show drift."""

    what: str
    value: str
    devices: int
    devices_drifted: int


class CauseDay(Value):
    """How many devices show drift on a day."""

    started_at: datetime
    devices: int
    devices_drifted: int


class Stretch(Value):
    """A time that is compared."""

    since: datetime
    until: datetime
    samples: int
    devices: int
    embedding: MovedEmbedding | None = None


class Shares(Value):
    """How often each label was chosen."""

    labels: list[str]
    reference: list[int]
    before: list[int]
    after: list[int]


class DriftCause(Value):
    """What is behind drift: which features, on which devices, since when, and what changed."""

    model: str
    version: int
    signal: str | None = None
    rule: str | None = None
    at: datetime
    since: datetime | None = None
    since_by: Literal["day", "hour", "window"] | None = None
    is_earlier: bool = False
    """Whether it has been so for longer than was looked back."""
    devices_tested: int
    devices_drifted: int
    devices: list[CauseDevice]
    cohorts: list[CauseCohort]
    days: list[CauseDay]
    compared: str
    """`devices`: histograms are of those that show drift; `fleet`: of all."""
    before: Stretch | None = None
    after: Stretch | None = None
    features: list[CauseFeature]
    predictions: Shares | None = None
