"""Devices whose connection was lost: offline once the grace is over in which most come back.

The grace goes by what is stored, so that it outlives the hub's processes. It is the hub's and not a will delay at the
broker: see docs/adr/0021-presence-grace.md.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, update
from sqlmodel import Session, col, select

from shoal_contract.reported import CONNECTION_LOST
from shoal_hub.database import Database, announce, in_parts, is_among
from shoal_hub.devices.tables import Device


def note_lost(database: Database, now: datetime, since: datetime, grace: timedelta) -> None:
    """Show devices as offline that have lost their connection and have not come back within the grace.

    Args:
        database: The hub's.
        now: The clock.
        since: When the hub began to listen; who came back before, it may not have heard yet.
        grace: How long a device may stay away.
    """
    if now - since < grace:
        return
    is_over = and_(col(Device.presence_lost_at) <= now - grace, col(Device.revoked_at).is_(None))
    with database.session() as session:
        # Not ordered by the database: SQLite would rather go through all devices by their ids than sort the few.
        lost = sorted(session.exec(select(Device.id).where(is_over)))
    for part in in_parts(lost):  # all of a fleet may be lost at once, and ingest has to write meanwhile
        with database.transaction() as session:
            _show_offline(session, and_(is_among(col(Device.id), part), is_over))


def _show_offline(session: Session, are_lost: ColumnElement[bool]) -> None:
    # Locked in the order in which ingest locks them, so that neither waits for the other in a circle.
    session.exec(select(Device.id).where(are_lost).order_by(Device.id).with_for_update(key_share=True)).all()
    values: dict[str, Any] = {"presence": "offline", "presence_reason": CONNECTION_LOST, "presence_lost_at": None}
    gone = update(Device).where(are_lost).values(presence_since=Device.presence_lost_at, **values)
    if session.connection().execute(gone).rowcount:
        announce(session, "devices")
