"""Windows that are never merged: set aside with the reason, a few of each device and reason, where a person finds them.

A message that cannot be read at all does not come here: it is told as an event (`shoal_hub.ingest.refusal`).
"""

from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, delete

from shoal_contract.telemetry import Window
from shoal_hub.database import once_committed
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.meters import WINDOWS_QUARANTINED
from shoal_hub.monitoring.tables import QuarantinedWindow, QuarantineReason

KEPT_EACH: Final = 16
"""Windows of one device that are kept for one reason, the latest: a device that lies fills no disk."""
_MAX_CHARS: Final = 1000


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

    A window that has come before is told by no event: a broker may have a device say it any number of times.
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
    if error.reason != "duplicate":
        record_event(
            session,
            "window_quarantined",
            error.message[:_MAX_CHARS],
            subject=f"model/{window.model}",
            device_id=device_id,
            severity="warning",
            body={"reason": error.reason},
        )


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
