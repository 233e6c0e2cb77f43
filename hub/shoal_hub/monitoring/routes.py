"""Routes of monitoring: drift signals, and what a version has seen lately on each device."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlmodel import col, select

from shoal_contract.telemetry import SchemaMisfits
from shoal_hub.dependencies import Reading, Viewer
from shoal_hub.error_response import documented
from shoal_hub.monitoring.tables import (
    DriftSignal,
    QuarantinedWindow,
    QuarantineReason,
    SignalRule,
    SignalState,
    WindowRow,
)
from shoal_hub.requests import Line

router = APIRouter(prefix="/drift", tags=["monitoring"])


class LeadingFeature(BaseModel):
    """A feature that has moved.

    By the plain rule: what each test says of it (docs/guides/drift-tests.md), and the share of missing values; null is
    what was not tested. By the controlled rule: the evidence that a device has most of, as log10 of an e-value, and on
    how many devices it suffices.
    """

    name: str
    kind: Literal["numeric", "categorical"] | None = None
    ks: float | None = None
    resolution: float | None = None
    """How far the distance of the raw values may lie above `ks`, as bins are as fine as they are."""
    psi: float | None = None
    p_value: float | None = None
    """Of the KS distance, of categories of the chi-squared test; corrected for the number of features."""
    raw_p_value: float | None = None
    """The same for this feature alone."""
    jensen_shannon: float | None = None
    jensen_shannon_floor: float | None = None
    """Where two samples of one source lie, about."""
    chi_squared: float | None = None
    chi_squared_degrees: int | None = None
    mean: float | None = None
    mean_change: float | None = None
    """Against the reference's, both of values taken for the middles of their bins."""
    mean_p_value: float | None = None
    variance_ratio: float | None = None
    variance_p_value: float | None = None
    missing_ratio: float | None = None
    seen_by: list[Literal["ks", "chi_squared", "mean", "variance", "psi"]] = []
    """Tests that see a change by themselves: p of this feature alone below 0.05, PSI at least 0.2."""
    log10_e: float | None = None
    devices: int | None = None


class MovedEmbedding(BaseModel):
    """How far an embedding has moved: the squared kernel distance (MMD) less what it has by sampling alone."""

    distance_squared: float
    floor: float
    p_value: float
    """Holds whatever the correlations; larger ones than 0.2 are said to be 1."""
    uncorrelated_p_value: float
    samples: int


class DriftSignalPublic(BaseModel):
    """A drift signal: which version, on which devices, since when, and the features that lead."""

    id: str
    model: str
    version: int
    rule: SignalRule
    state: SignalState
    raised_at: datetime
    updated_at: datetime
    cleared_at: datetime | None
    devices: list[str]
    samples: int
    features: list[LeadingFeature]
    embedding: MovedEmbedding | None = None
    """Null where the version has no embedding, or by the controlled rule."""


class WindowPublic(BaseModel):
    """The counts of one window that a person reads; sketches stay in the database."""

    device_id: str
    model: str
    version: int
    started_at: datetime
    ended_at: datetime
    requests: int
    samples: int
    unsketched: int
    """Of the samples, those that the counts of features leave out: more came than the device sketches."""
    errors: int
    predictions: list[int]
    latency: list[int]
    labelled: int
    """Samples whose true label came back."""
    correct: int
    misfits: SchemaMisfits | None
    """Requests that did not fit the model's schema, by what; null: there were none, or the agent counts none."""
    left_out: dict[str, str] | None
    """What the window does not tell, and why."""


class QuarantinedPublic(BaseModel):
    """A window that was not merged, and why."""

    id: int
    device_id: str
    model: str
    version: int
    reason: QuarantineReason
    message: str
    started_at: datetime
    ended_at: datetime
    requests: int
    samples: int
    received_at: datetime


@router.get("", responses=documented(401, 403, 422))
def list_signals(
    session: Reading,
    _viewer: Viewer,
    model: Line | None = None,
    state: SignalState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[DriftSignalPublic]:
    """List drift signals, the newest first."""
    wanted = select(DriftSignal).order_by(col(DriftSignal.raised_at).desc(), DriftSignal.id).limit(limit)
    if model is not None:
        wanted = wanted.where(DriftSignal.model == model)
    if state is not None:
        wanted = wanted.where(DriftSignal.state == state)
    return [DriftSignalPublic.model_validate(row, from_attributes=True) for row in session.exec(wanted)]


@router.get("/windows", responses=documented(401, 403, 422))
def list_windows(
    session: Reading,
    _viewer: Viewer,
    device: Line | None = None,
    model: Line | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[WindowPublic]:
    """List the latest windows, the newest first."""
    wanted = select(WindowRow).order_by(col(WindowRow.id).desc()).limit(limit)
    if device is not None:
        wanted = wanted.where(WindowRow.device_id == device)
    if model is not None:
        wanted = wanted.where(WindowRow.model == model)
    return [WindowPublic.model_validate(row, from_attributes=True) for row in session.exec(wanted)]


@router.get("/quarantine", responses=documented(401, 403, 422))
def list_quarantined(
    session: Reading,
    _viewer: Viewer,
    device: Line | None = None,
    model: Line | None = None,
    reason: QuarantineReason | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[QuarantinedPublic]:
    """List windows that were not merged, the newest first: the latest 16 of each device and reason are kept."""
    wanted = select(QuarantinedWindow).order_by(col(QuarantinedWindow.id).desc()).limit(limit)
    for column, value in (
        (QuarantinedWindow.device_id, device),
        (QuarantinedWindow.model, model),
        (QuarantinedWindow.reason, reason),
    ):
        if value is not None:
            wanted = wanted.where(col(column) == value)
    return [QuarantinedPublic.model_validate(row, from_attributes=True) for row in session.exec(wanted)]
