"""Alerts as people look at them: found, and taken care of."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from shoal_hub.alerts.tables import AlertAcknowledgement, AlertRow, AlertSeverity, AlertState
from shoal_hub.database import announce, in_parts
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event


def find_alerts(
    session: Session,
    states: Sequence[AlertState],
    *,
    rule: str | None,
    severity: AlertSeverity | None,
    limit: int,
    offset: int,
) -> list[AlertRow]:
    """Return alerts, those that began last first."""
    wanted = select(AlertRow).where(col(AlertRow.state).in_(states))
    if rule is not None:
        wanted = wanted.where(AlertRow.rule == rule)
    if severity is not None:
        wanted = wanted.where(AlertRow.severity == severity)
    ordered = wanted.order_by(col(AlertRow.pending_at).desc(), col(AlertRow.id))
    return list(session.exec(ordered.limit(limit).offset(offset)))


def find_alert(session: Session, alert_id: str, *, is_locked: bool = False) -> AlertRow:
    """Return an alert.

    Raises:
        NotFoundError: There is none of this id.
    """
    row = session.get(AlertRow, alert_id, with_for_update=is_locked or None)
    if row is None:
        raise NotFoundError(f"there is no alert {alert_id}", "list them: shoal alerts list")
    return row


def acknowledge(session: Session, alert_id: str, note: str, *, by: str, now: datetime) -> AlertAcknowledgement:
    """Have an alert not repeated any more, as a person looks after it; said again, the later word stands.

    Raises:
        NotFoundError: There is none of this id.
        ConflictError: It is over.
    """
    alert = find_alert(session, alert_id, is_locked=True)
    if alert.state == "resolved":
        raise ConflictError(f"acknowledging the alert {alert_id}: it is over")
    row = session.get(AlertAcknowledgement, alert_id) or AlertAcknowledgement(
        alert_id=alert_id, by=by, note=note, at=now
    )
    row.by, row.note, row.at = by, note, now
    session.add(row)
    told = f"{alert.rule} is looked after by {by}" + (f": {note}" if note else "")
    record_event(session, "alert_acknowledged", told, subject=f"alert/{alert_id}", at=now)
    announce(session, "alerts")
    return row


def acknowledgements_of(session: Session, alert_ids: Sequence[str]) -> dict[str, AlertAcknowledgement]:
    """Return who looks after which alerts."""
    found: dict[str, AlertAcknowledgement] = {}
    for part in in_parts(alert_ids):
        rows = session.exec(select(AlertAcknowledgement).where(col(AlertAcknowledgement.alert_id).in_(part)))
        found |= {row.alert_id: row for row in rows}
    return found
