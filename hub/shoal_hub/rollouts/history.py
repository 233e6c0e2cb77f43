"""All that happened to a rollout, in order: what people and the hub did (its audit), and what was told (its events)."""

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlmodel import Session, col, select

from shoal_hub.audit.about import entries_about
from shoal_hub.audit.entry import Entry
from shoal_hub.events.tables import EventRow, Severity
from shoal_hub.rollouts.owner import owner_of


class HistoryEntry(BaseModel):
    """One thing that happened."""

    at: datetime
    """When the hub learned of it: devices' clocks may be wrong."""
    source: Literal["audit", "event"]
    what: str
    """The audited action, like `rollouts.abort_rollout`, or the kind of the event."""
    by: str
    """Who did it; of an event, its device, or nothing."""
    severity: Severity
    message: str
    before: dict[str, Any]
    after: dict[str, Any]
    """Of an audited action: what changed. Of an event: its details."""


def read_history(session: Session, rollout_id: str, limit: int) -> list[HistoryEntry]:
    """Return the last things that happened to a rollout, the oldest first.

    Args:
        session: An open session.
        rollout_id: The rollout.
        limit: How many at most.
    """
    wanted = select(EventRow).where(EventRow.subject == owner_of(rollout_id))
    events = session.exec(wanted.order_by(col(EventRow.id).desc()).limit(limit)).all()
    audited = entries_about(session, f"rollouts/{rollout_id}", limit)
    told = [_of_event(one) for one in reversed(events)] + [_of_entry(one) for one in audited]
    return sorted(told, key=lambda one: one.at)[-limit:]


def _of_event(row: EventRow) -> HistoryEntry:
    return HistoryEntry(
        at=row.received_at,
        source="event",
        what=row.kind,
        by=row.device_id or "",
        severity=row.severity,
        message=row.message,
        before={},
        after=row.body,
    )


def _of_entry(entry: Entry) -> HistoryEntry:
    role = f" ({entry.actor_role})" if entry.actor_role else ""
    return HistoryEntry(
        at=entry.at,
        source="audit",
        what=entry.action,
        by=entry.actor_name,
        severity="info",
        message=f"{entry.action} by {entry.actor_name}{role}",
        before=json.loads(entry.before),
        after=json.loads(entry.after),
    )
