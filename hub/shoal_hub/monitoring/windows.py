"""Takes in a device's window: checked against the manifest that it names, stored, and looked at for drift."""

import logging
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import String, cast
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import Window
from shoal_hub.database import once_committed
from shoal_hub.meters import WINDOWS_TAKEN
from shoal_hub.monitoring.drift import drift_of, update_signal
from shoal_hub.monitoring.evidence import check_evidence, take_evidence
from shoal_hub.monitoring.quarantine import QuarantineError, set_aside
from shoal_hub.monitoring.sketches import Packed, check_window, reference_of
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.registry.tables import Version
from shoal_numerics import Histogram

log = logging.getLogger(__name__)

AHEAD: Final = timedelta(minutes=10)
"""How far a window may end ahead of the hub's clock; up to then it is taken to have ended now."""
LATE: Final = timedelta(days=35)
"""How long after its end a window may come: a device that was away for a month still tells of it."""
_BASELINES: Final = 16
"""Of versions whose windows came last, that are kept read."""
_REMEMBERED: Final = 128
"""Windows of one version on one device that a new one is compared with: several times what a verdict looks at."""


def take_window(session: Session, device_id: str, window: Window, now: datetime) -> None:
    """Store one window and bring the drift signal up to date; a bad one is set aside with the reason, never merged.

    A window is counted once, whatever outbox it comes by: a broker that somebody has taken over can withhold the hub's
    word that it has it, and have the device say it again under another stream.
    """
    try:
        baseline, reference = _read_baseline(_baseline_text(session, window))
        _check_times(window, now)
        check_evidence(window, baseline)
        row = _row(device_id, window, check_window(window, baseline, reference), now)
        _check_new(session, row)
    except QuarantineError as error:
        set_aside(session, device_id, window, error, now)
        return
    row.drift = drift_of(row, reference)
    session.add(row)
    session.flush()
    once_committed(session, WINDOWS_TAKEN.inc)
    update_signal(session, row, baseline, reference, now)
    take_evidence(session, device_id, window, baseline, now)


def _check_times(window: Window, now: datetime) -> None:
    """See that a window lies in a time of which the hub may say that it has been."""
    where = f"reading a window of {window.model} version {window.version}"
    began, ended = window.started_at, window.ended_at
    if began > ended:
        message = f"{where}: it began at {began.isoformat()} and ended at {ended.isoformat()}"
        raise QuarantineError("backwards", message)
    if ended - now > AHEAD:
        message = f"{where}: it ended at {ended.isoformat()}, {ended - now} ahead of the hub's clock, at most {AHEAD}"
        raise QuarantineError("from_the_future", f"{message} expected; set the device's clock")
    if now - ended > LATE:
        message = f"{where}: it ended at {ended.isoformat()}, {now - ended} ago, at most {LATE} expected"
        raise QuarantineError("late", message)


def _row(device_id: str, window: Window, packed: Packed, now: datetime) -> WindowRow:
    return WindowRow(
        device_id=device_id,
        model=window.model,
        version=window.version,
        started_at=window.started_at,
        ended_at=max(window.started_at, min(window.ended_at, now)),
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
        embedding=window.embedding.model_dump(mode="json") if window.embedding is not None else None,
        slices=[one.model_dump(mode="json") for one in window.slices] if window.slices is not None else None,
        misfits=window.misfits.model_dump(mode="json") if window.misfits is not None else None,
        left_out={str(part): why for part, why in window.left_out.items()} if window.left_out else None,
        performance=window.performance.model_dump(mode="json", exclude_none=True) if window.performance else None,
    )


def _check_new(session: Session, row: WindowRow) -> None:
    """See that the window is not among the latest: its time alone does not tell, as a clock may stand still."""
    columns: Any = (
        col(WindowRow.started_at),
        col(WindowRow.requests),
        col(WindowRow.features),
        col(WindowRow.missing),
        col(WindowRow.labelled),
        col(WindowRow.correct),
        # Of a window that holds true values or metrics alone, nothing else tells.
        *((col(WindowRow.performance),) if row.performance is not None else ()),
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
    beside = () if row.performance is None else (row.performance,)
    mine = (row.started_at, row.requests, row.features, row.missing, row.labelled, row.correct, *beside)
    if mine in map(tuple, session.connection().execute(latest)):
        raise QuarantineError("duplicate", f"reading a window of {row.model} version {row.version}: it has come before")


def _baseline_text(session: Session, window: Window) -> str:
    wanted: Any = select_columns(cast(col(Version.baseline), String)).where(
        col(Version.model) == window.model, col(Version.number) == window.version
    )
    found: str | None = session.connection().execute(wanted).scalars().first()
    if found is None:
        message = f"reading a window: {window.model} has no version {window.version}"
        raise QuarantineError("unknown_version", message)
    return found


@lru_cache(maxsize=_BASELINES)
def _read_baseline(text: str) -> tuple[Baseline, Histogram]:
    """Read a baseline and its histogram, which would be most of the work on a window; nobody changes either."""
    baseline = Baseline.model_validate_json(text)
    return baseline, reference_of(baseline)
