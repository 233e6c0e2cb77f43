"""Windows that are never merged: set aside with the reason, a few of each device and reason, where a person finds them.

A message that cannot be read at all does not come here: it is told as an event (`shoal_hub.ingest.refusal`).
"""

from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, delete, or_, select

from shoal_contract.telemetry import Window
from shoal_hub.database import once_committed
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.meters import WINDOWS_QUARANTINED
from shoal_hub.monitoring.tables import QuarantinedWindow, QuarantineReason, QuarantineTally

KEPT_EACH: Final = 16
"""Windows of one device that are kept for one reason, the latest: a device that lies fills no disk."""
TOLD_EVERY: Final = timedelta(hours=1)
"""Between two events of one device and reason; the later one says how many windows there were in between."""
_MAX_CHARS: Final = 1000
_TOLD_EACH: Final = 100
"""Tallies that one look tells."""


class QuarantineError(InvalidInputError):
    """A window must not be merged.

    Args:
        reason: What kind of lie or mishap it is.
        message: What was found and what was expected.
    """

    code = "quarantine"

    def __init__(self, reason: QuarantineReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def set_aside(session: Session, device_id: str, window: Window, error: QuarantineError, now: datetime) -> None:
    """Keep the record of a window that is not merged, without its counts, and tell of it.

    A window that has come before is told by no event: a broker may have a device say it any number of times. Others are
    told once an hour of each device and reason, with how many there were since.
    """
    session.add(
        QuarantinedWindow(
            device_id=device_id,
            model=window.model,
            version=window.version,
            reason=error.reason,
            message=error.message[:_MAX_CHARS],
            started_at=window.started_at,
            ended_at=window.ended_at,
            requests=window.requests,
            samples=window.samples,
            received_at=now,
        )
    )
    session.flush()
    once_committed(session, WINDOWS_QUARANTINED.labels(error.reason).inc)
    _drop_older(session, device_id, error.reason)
    if error.reason == "duplicate":
        return
    more = _untold(session, device_id, error.reason, now)
    if more is not None:
        body: dict[str, Any] = {"reason": error.reason}
        record_event(
            session,
            "window_quarantined",
            _with_more(error.message, more),
            subject=f"model/{window.model}",
            device_id=device_id,
            severity="warning",
            body=body | {"more": more} if more else body,
            at=now,
        )


def tell_tallies(session: Session, now: datetime) -> int:
    """Tell how many windows were set aside without a word, of devices that have stopped since; return of how many."""
    is_over = (col(QuarantineTally.told_at) <= now - TOLD_EVERY, col(QuarantineTally.told_at) > now)
    # Those that an ingest is counting at now are left for the next look.
    due = select(QuarantineTally).where(or_(*is_over)).limit(_TOLD_EACH).with_for_update(skip_locked=True)
    rows = session.exec(due).all()
    for row in rows:
        if row.untold:
            message = f"{row.untold} more windows of {row.device_id} were set aside: {row.reason.replace('_', ' ')}"
            body = {"reason": row.reason, "more": row.untold}
            record_event(
                session,
                "window_quarantined",
                message,
                subject=f"device/{row.device_id}",
                device_id=row.device_id,
                severity="warning",
                body=body,
                at=now,
            )
        session.delete(row)
    return len(rows)


def _untold(session: Session, device_id: str, reason: QuarantineReason, now: datetime) -> int | None:
    """Count a window that is set aside; return how many there were before it without a word, None if it is one more."""
    row = session.get(QuarantineTally, (device_id, reason), with_for_update=True)
    if row is None:
        session.add(QuarantineTally(device_id=device_id, reason=reason, told_at=now))
        return 0
    session.add(row)
    if abs(now - row.told_at) < TOLD_EVERY:
        row.untold += 1
        return None
    more, row.untold, row.told_at = row.untold, 0, now
    return more


def _with_more(message: str, more: int) -> str:
    told = f" ({more} more since the last word)" if more else ""
    return message[: _MAX_CHARS - len(told)] + told


def _drop_older(session: Session, device_id: str, reason: QuarantineReason) -> None:
    """Delete all but the latest of one device and reason."""
    latest: Any = (
        select_columns(col(QuarantinedWindow.id))
        .where(col(QuarantinedWindow.device_id) == device_id, col(QuarantinedWindow.reason) == reason)
        .order_by(col(QuarantinedWindow.id).desc())
        .offset(KEPT_EACH)
    )
    older = cast("list[int]", list(session.connection().execute(latest).scalars()))
    if older:
        session.exec(delete(QuarantinedWindow).where(col(QuarantinedWindow.id).in_(older)))
