"""Takes in what a device in shadow tells: held against its trial, counted once, stored."""

from datetime import datetime
from typing import Any, Final

from sqlmodel import Session, col, func, select

from shoal_contract.telemetry import LATENCY_EDGES_MS, ShadowWindow
from shoal_hub.database import announce
from shoal_hub.events.record import record_event
from shoal_hub.trials.owner import owner_of
from shoal_hub.trials.tables import ShadowRow, Trial, TrialDevice

MAX_EXAMPLES: Final = 200
"""Hard examples that are kept of one trial."""
MAX_LABELLED: Final = 2**31 - 1
"""Labelled samples of one window."""
_REMEMBERED: Final = 128
"""Windows of one device that a new one is compared with: a broker may have a device say one again."""
_TOLD_APART_BY: Final = (
    "started_at",
    "compared",
    "disagreed",
    "errors",
    "skipped",
    "labelled",
    "correct",
    "against_correct",
)
"""With the latencies: the time alone does not tell windows apart, as a clock may stand still."""


def take_shadow_window(session: Session, device_id: str, window: ShadowWindow, now: datetime) -> None:
    """Store one window; one that fits no trial of this device is told as an event and never counted."""
    trial = session.get(Trial, window.trial)
    placed = session.get(TrialDevice, (window.trial, device_id)) if trial is not None else None
    reason = _misfit(trial, placed, window)
    if trial is None or reason:
        _set_aside(session, device_id, window, reason, now)
        return
    row = ShadowRow(
        trial_id=trial.id,
        device_id=device_id,
        started_at=window.started_at,
        ended_at=min(window.ended_at, now),
        compared=window.compared,
        disagreed=window.disagreed,
        errors=window.errors,
        skipped=window.skipped,
        latency=list(window.latency),
        labelled=window.labelled,
        correct=window.correct,
        against_correct=window.against_correct,
    )
    if _is_known(session, row):
        return
    if _labelled_beyond_compared(session, row):
        _set_aside(session, device_id, window, "more labels came than samples were compared", now)
        return
    row.examples = _examples(session, trial, window)
    session.add(row)
    announce(session, "trials")


def _set_aside(session: Session, device_id: str, window: ShadowWindow, reason: str, now: datetime) -> None:
    record_event(
        session,
        "window_quarantined",
        f"reading a window in shadow of trial {window.trial}: {reason}",
        subject=owner_of(window.trial),
        device_id=device_id,
        severity="warning",
        at=now,
    )


def _labelled_beyond_compared(session: Session, row: ShadowRow) -> bool:
    """Whether a device would have more labels in a trial than samples: they may come later, and only once each."""
    if not row.labelled:
        return False
    wanted = select(func.coalesce(func.sum(ShadowRow.compared), 0), func.coalesce(func.sum(ShadowRow.labelled), 0))
    mine = wanted.where(ShadowRow.trial_id == row.trial_id, ShadowRow.device_id == row.device_id)
    compared, labelled = session.exec(mine).one()
    return int(labelled) + row.labelled > int(compared) + row.compared


def _misfit(trial: Trial | None, placed: TrialDevice | None, window: ShadowWindow) -> str:
    """Return why a window is no word of this trial; empty if it is."""
    if trial is None:
        return "there is no such trial"
    if placed is None or not placed.target:
        return "the device does not take part in it"
    if trial.mode != "shadow":
        return "it is none in shadow"
    named = (window.model, window.version, window.against)
    if named != (trial.model, trial.version, trial.against):
        return f"{named} found, {(trial.model, trial.version, trial.against)} expected"
    is_labelled = max(window.correct, window.against_correct) <= window.labelled <= MAX_LABELLED
    if window.disagreed > window.compared or not is_labelled or len(window.latency) != len(LATENCY_EDGES_MS) + 1:
        return "its counts contradict each other"
    return ""


def _is_known(session: Session, row: ShadowRow) -> bool:
    """Whether one of the device's latest windows is the same; the database compares, but for the latencies."""
    latest = (
        select(ShadowRow.id)
        .where(ShadowRow.trial_id == row.trial_id, ShadowRow.device_id == row.device_id)
        .order_by(col(ShadowRow.id).desc())
        .limit(_REMEMBERED)
    )
    same = (getattr(ShadowRow, name) == getattr(row, name) for name in _TOLD_APART_BY)
    alike = select(ShadowRow.latency).where(col(ShadowRow.id).in_(latest), *same)
    return any(latency == row.latency for latency in session.exec(alike))


def _examples(session: Session, trial: Trial, window: ShadowWindow) -> list[dict[str, Any]]:
    """Return what is kept of a window's examples: no more than were asked for, and of a trial no more than a bound."""
    if not trial.hard_examples or not window.examples:
        return []
    kept = session.exec(select(ShadowRow.examples).where(ShadowRow.trial_id == trial.id)).all()
    room = MAX_EXAMPLES - sum(map(len, kept))
    most = max(0, min(room, trial.hard_examples))
    return [one.model_dump() for one in window.examples[:most]]
