"""Takes in a device's window: checked against the manifest that it names, stored, and looked at for drift."""

import logging
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import Window
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.monitoring.drift import drift_of, update_signal
from shoal_hub.monitoring.sketches import check_window, reference_of
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.registry.tables import Version

log = logging.getLogger(__name__)

_REMEMBERED: Final = 128
"""Windows of one version on one device that a new one is compared with: several times what a verdict looks at."""


def take_window(session: Session, device_id: str, window: Window, now: datetime) -> None:
    """Store one window and bring the drift signal up to date; a bad one is quarantined as an event, never merged.

    A window is counted once, whatever outbox it comes by: a broker that somebody has taken over can withhold the hub's
    word that it has it, and have the device say it again under another stream.
    """
    try:
        version = _version(session, window)
        baseline = Baseline.model_validate(version.baseline)
        packed = check_window(window, reference_of(baseline))
    except InvalidInputError as error:
        record_event(
            session,
            "window_quarantined",
            error.message,
            subject=f"model/{window.model}",
            device_id=device_id,
            severity="warning",
        )
        return
    row = WindowRow(
        device_id=device_id,
        model=window.model,
        version=window.version,
        started_at=window.started_at,
        ended_at=min(window.ended_at, now),
        requests=window.requests,
        samples=window.samples - (window.unsketched or 0),  # those that the counts tell of
        errors=window.errors,
        features=packed.features,
        missing=packed.missing,
        predictions=list(window.predictions),
        confidence=list(window.confidence),
        latency=list(window.latency),
        labelled=window.labelled,
        correct=window.correct,
        received_at=now,
    )
    if _is_known(session, row):
        return
    row.drift = drift_of(row, reference_of(baseline))
    session.add(row)
    session.flush()
    update_signal(session, device_id, window.model, window.version, baseline, now)


def _is_known(session: Session, row: WindowRow) -> bool:
    """Whether the same window is among the latest: its time alone does not tell, as a clock may stand still."""
    columns: Any = (
        col(WindowRow.started_at),
        col(WindowRow.requests),
        col(WindowRow.features),
        col(WindowRow.missing),
        col(WindowRow.labelled),
        col(WindowRow.correct),
    )
    latest: Any = (
        select_columns(*columns)
        .where(
            col(WindowRow.device_id) == row.device_id,
            col(WindowRow.model) == row.model,
            col(WindowRow.version) == row.version,
        )
        .order_by(col(WindowRow.id).desc())
        .limit(_REMEMBERED)
    )
    mine = (row.started_at, row.requests, row.features, row.missing, row.labelled, row.correct)
    return mine in map(tuple, session.connection().execute(latest))


def _version(session: Session, window: Window) -> Version:
    wanted = select(Version).where(Version.model == window.model, Version.number == window.version)
    version = session.exec(wanted).first()
    if version is None:
        raise InvalidInputError(f"reading a window: {window.model} has no version {window.version}")
    if len(window.predictions) != len(Baseline.model_validate(version.baseline).predictions):
        raise InvalidInputError(f"reading a window of {window.model} version {window.version}: wrong number of labels")
    return version
