"""The history of drift and the causes of signals, as the API shows them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from shoal_hub.drift_history.tables import Span
from shoal_hub.monitoring.routes import LeadingFeature, MovedEmbedding

Series = list[float | None]
"""A value for each period; null where it is not known or was not tested."""


class HistoryPeriod(BaseModel):
    """An hour or day: what was counted in it, and how many devices show drift."""

    started_at: datetime
    windows: int | None
    """Null, as all counts, where the scores of devices' days are all that is known."""
    requests: int | None
    samples: int | None
    errors: int | None
    labelled: int | None
    correct: int | None
    is_drifted: bool | None
    """Whether all of it together shows drift by the plain rule; null: it was not tested."""
    devices: int | None
    """That had enough samples to be tested; null by hours."""
    devices_drifted: int | None
    """Those of them that show drift by the plain rule."""
    embedding: MovedEmbedding | None


class FeatureHistory(BaseModel):
    """One feature over time, all windows of a period together, and how it lies on single devices."""

    name: str
    kind: Literal["numeric", "categorical"]
    ks: Series
    resolution: Series
    """How far the distance of the raw values may lie above `ks`."""
    p_value: Series
    """Of the KS distance, of categories of the chi-squared test; corrected for the number of features."""
    psi: Series
    jensen_shannon: Series
    chi_squared: Series
    mean_change: Series
    variance_ratio: Series
    missing_ratio: Series
    is_drifted: list[bool | None]
    devices_drifted: list[int | None]
    device_ks_median: Series
    """Of the devices' distances, in steps of 1/254, as `device_ks_p90` is."""
    device_ks_p90: Series


class Thresholds(BaseModel):
    """What the plain rule asks of a feature."""

    psi: float
    p_value: float
    min_samples: int
    min_features: int


class DriftHistory(BaseModel):
    """How a version's inputs have lain against its baseline over time."""

    model: str
    version: int
    by: Span
    of: str
    """Whose windows: fleet, device d-…, group north, tag site=paris, query …"""
    since: datetime
    until: datetime
    source: Literal["counts", "scores"]
    """Whether all windows of a period are merged, or only the scores of devices' days are known."""
    thresholds: Thresholds
    periods: list[HistoryPeriod]
    features: list[FeatureHistory]
    features_in_all: int


class CauseHistogram(BaseModel):
    """A feature's bins: the reference's, and before and after it began. Counts of devices that show it."""

    edges: list[float]
    """Interior edges; the outer bins are open."""
    reference: list[int]
    before: list[int]
    after: list[int]


class CauseFeature(LeadingFeature):
    """A feature, by what the tests say of the time after it began; and how it lay before."""

    is_drifted: bool
    before_ks: float | None
    before_psi: float | None
    devices_drifted: int
    """Devices on which it has drifted on that day, of those that show drift."""
    histogram: CauseHistogram | None
    """Of those that lead."""


class CauseDevice(BaseModel):
    """A device that shows drift."""

    id: str
    name: str
    group: str
    since: datetime | None
    """The day from which on it has; null where its days do not show it."""
    samples: int
    ks: float | None
    psi: float | None
    features: list[str]
    """Those that have drifted most."""


class CauseCohort(BaseModel):
    """What devices have in common: so many of them, and so many of these show drift."""

    what: str
    """group, tags.NAME, hardware.kind or hardware.model."""
    value: str
    devices: int
    devices_drifted: int


class CauseDay(BaseModel):
    """A day on the way: how many devices show drift on it."""

    started_at: datetime
    devices: int
    devices_drifted: int


class Stretch(BaseModel):
    """A time that is compared: what was counted in it."""

    since: datetime
    until: datetime
    samples: int
    devices: int
    embedding: MovedEmbedding | None


class Shares(BaseModel):
    """How often each label was chosen, of all answers."""

    labels: list[str]
    reference: list[int]
    before: list[int]
    after: list[int]


class DriftCause(BaseModel):
    """What is behind drift: which features, on which devices, since when, and what changed."""

    model: str
    version: int
    signal: str | None
    rule: str | None
    at: datetime
    since: datetime | None
    """From when on it has been so without a break; null where nothing shows drift."""
    since_by: Literal["day", "hour", "window"] | None
    """How finely that is known."""
    is_earlier: bool
    """Whether it has been so for longer than was looked back."""
    devices_tested: int
    devices_drifted: int
    devices: list[CauseDevice]
    cohorts: list[CauseCohort]
    days: list[CauseDay]
    compared: Literal["devices", "fleet"]
    """Whose histograms: of the devices that show drift, or of the fleet where theirs are not kept any more."""
    before: Stretch | None
    after: Stretch | None
    features: list[CauseFeature]
    predictions: Shares | None
