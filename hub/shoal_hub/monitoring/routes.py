"""Routes of monitoring: drift signals, and what a version has seen lately on each device."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlmodel import col, select

from shoal_hub.dependencies import Reading, Viewer
from shoal_hub.error_response import documented
from shoal_hub.monitoring.tables import DriftSignal, SignalRule, SignalState, WindowRow
from shoal_hub.requests import Line

router = APIRouter(prefix="/drift", tags=["monitoring"])


class LeadingFeature(BaseModel):
    """A feature that has moved.

    By the plain rule: distances to the baseline, and the share of missing values. By the controlled rule: the evidence
    that a device has most of, as log10 of an e-value, and on how many devices it suffices.
    """

    name: str
    ks: float | None = None
    psi: float | None = None
    p_value: float | None = None
    missing_ratio: float | None = None
    log10_e: float | None = None
    devices: int | None = None


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


class WindowPublic(BaseModel):
    """The counts of one window that a person reads; sketches stay in the database."""

    device_id: str
    model: str
    version: int
    started_at: datetime
    ended_at: datetime
    requests: int
    samples: int
    errors: int
    predictions: list[int]
    latency: list[int]
    labelled: int
    """Samples whose true label came back."""
    correct: int


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
