"""Takes in what devices say of themselves. Rows move only forward, by (connection, sequence)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Update, and_, or_, update
from sqlmodel import Session, col

from shoal_contract.reported import Presence, ReportedState
from shoal_hub.database import announce
from shoal_hub.devices.tables import Device


def apply_presence(session: Session, device_id: str, presence: Presence, now: datetime) -> bool:
    """Note that a device came or went; return whether it was news.

    An `offline` of an older connection, which the broker sends long after a new one was made, is not.
    """
    is_newer = _follows((Device.presence_connection, Device.presence_sequence), presence.connection, presence.sequence)
    statement = (
        update(Device)
        .where(col(Device.id) == device_id, col(Device.revoked_at).is_(None), is_newer)
        .values(
            presence=presence.state,
            presence_connection=presence.connection,
            presence_sequence=presence.sequence,
            presence_since=presence.since,
            presence_reason=presence.reason,
            last_seen_at=now if presence.state == "online" else Device.last_seen_at,
        )
    )
    return _changed(session, statement)


def apply_reported(session: Session, device_id: str, reported: ReportedState, now: datetime) -> bool:
    """Keep a device's reported state; return whether it was newer than the one kept."""
    is_newer = _follows((Device.reported_connection, Device.reported_sequence), reported.connection, reported.sequence)
    statement = (
        update(Device)
        .where(col(Device.id) == device_id, col(Device.revoked_at).is_(None), is_newer)
        .values(
            reported=reported.model_dump(mode="json", exclude_none=True),
            reported_connection=reported.connection,
            reported_sequence=reported.sequence,
            reported_at=reported.at,
            reported_epoch=reported.epoch,
            reported_generation=reported.generation,
            hardware=reported.hardware.model_dump(mode="json"),
            last_seen_at=now,
        )
    )
    return _changed(session, statement)


def _follows(columns: tuple[Any, Any], connection: int, sequence: int) -> Any:  # noqa: ANN401 - a SQL expression
    stored_connection, stored_sequence = col(columns[0]), col(columns[1])
    return or_(stored_connection < connection, and_(stored_connection == connection, stored_sequence < sequence))


def _changed(session: Session, statement: Update) -> bool:
    is_news = session.connection().execute(statement).rowcount > 0
    if is_news:
        announce(session, "devices")
    return is_news
