"""Devices whose connection was lost: offline once the grace is over in which most come back.

The grace goes by what is stored, so that it outlives the hub's processes. It is the hub's and not a will delay at the
broker: see docs/adr/0021-presence-grace.md.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.reported import CONNECTION_LOST
from shoal_hub.bulk import Query
from shoal_hub.database import Database, UtcDateTime, announce, in_parts, is_among
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
    with database.session() as session:
        # Not ordered by the database: SQLite would rather go through all devices by their ids than sort the few.
        lost = sorted(device_id for (device_id,) in _LOST.rows(session, before=now - grace))
    for part in in_parts(lost):  # all of a fleet may be lost at once, and ingest has to write meanwhile
        with database.transaction() as session:
            _show_offline(session, and_(is_among(col(Device.id), part), _is_over(now - grace)))


def _is_over(before: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Return the condition that a device was lost before then, and has not come back."""
    return and_(col(Device.presence_lost_at) <= before, col(Device.revoked_at).is_(None))


_LOST: Final = Query(select_columns(col(Device.id)).where(_is_over(bindparam("before", type_=UtcDateTime()))))


def _show_offline(session: Session, are_lost: ColumnElement[bool]) -> None:
    # Locked in the order in which ingest locks them, so that neither waits for the other in a circle.
    session.exec(select(Device.id).where(are_lost).order_by(Device.id).with_for_update(key_share=True)).all()
    values: dict[str, Any] = {"presence": "offline", "presence_reason": CONNECTION_LOST, "presence_lost_at": None}
    gone = update(Device).where(are_lost).values(presence_since=Device.presence_lost_at, **values)
    if session.connection().execute(gone).rowcount:
        announce(session, "devices")
