"""The writer of events; those that devices tell of themselves are written by ingest."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, insert
from sqlmodel import Session, select

from shoal_hub.bulk import Bulk
from shoal_hub.database import announce, once_committed, utc_now
from shoal_hub.events.tables import EventRow, Severity
from shoal_hub.meters import EVENTS


def record_event(
    session: Session,
    kind: str,
    message: str,
    *,
    subject: str = "",
    device_id: str | None = None,
    severity: Severity = "info",
    body: dict[str, Any] | None = None,
    at: datetime | None = None,
    event_id: str | None = None,
) -> EventRow | None:
    """Add an event to the session's transaction.

    Args:
        session: An open transaction.
        kind: What sort of thing happened, like `device_enrolled`.
        message: One line for a person.
        subject: What it is about, like `rollout/r-abcdefgh`.
        device_id: The device that it concerns.
        severity: Whether somebody should look.
        body: Details for programs.
        at: When it happened, if not now.
        event_id: A device's id of the event; a second one with the same id is not recorded.

    Returns:
        The row, or None for a repetition.
    """
    if event_id is not None and session.exec(select(EventRow.id).where(EventRow.event_id == event_id)).first():
        return None
    now = utc_now()
    row = EventRow(
        event_id=event_id,
        at=at or now,
        received_at=now,
        device_id=device_id,
        kind=kind,
        subject=subject,
        severity=severity,
        message=message,
        body=body or {},
    )
    session.add(row)
    announce_events(session, [(kind, severity)])
    return row


class Happening(NamedTuple):
    """One of many events; the fields are those of `record_event`."""

    kind: str
    message: str
    subject: str
    severity: Severity
    device_id: str | None


def record_events(session: Session, happened: Sequence[Happening], at: datetime) -> None:
    """Record many events in their order, as `record_event` does one."""
    if not happened:
        return
    session.flush()  # those that were recorded before come before
    now = utc_now()
    _ADD.execute(session, [{**one._asdict(), "at": at, "received_at": now} for one in happened])
    announce_events(session, [(one.kind, one.severity) for one in happened])


def announce_events(session: Session, recorded: Sequence[tuple[str, Severity]]) -> None:
    """Tell others, and count, that events were recorded, once that is committed.

    Args:
        session: An open transaction.
        recorded: The kind and the severity of each.
    """
    announce(session, "events")

    def count() -> None:
        for kind, severity in recorded:
            EVENTS.labels(kind, severity).inc()

    once_committed(session, count)


_ADD: Final = Bulk(
    insert(EventRow).values(
        {name: bindparam(name) for name in (*Happening._fields, "at", "received_at")} | {"body": {}}
    )
)
