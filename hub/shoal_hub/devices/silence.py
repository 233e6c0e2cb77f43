"""Devices that have fallen silent: a broker that was killed publishes no wills and leaves them online for ever."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_contract.desired import DesiredConfig
from shoal_hub.bulk import Query
from shoal_hub.database import Database, UtcDateTime, announce
from shoal_hub.devices.compose import CONFIG, compose
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import Device

SILENT: Final = "no heartbeat"
"""The reason of a presence that the hub has concluded; the next word of the device ends it."""
SHORTEST: Final = timedelta(minutes=2)
_HEARTBEATS: Final = 4


def note_silence(database: Database, now: datetime, since: datetime) -> None:
    """Show devices as offline that have missed several heartbeats.

    Args:
        database: The hub's.
        now: The clock.
        since: When the hub began to listen; before, it could hear nobody.
    """
    if now - since < SHORTEST:
        return
    with database.session() as session:
        rows = _QUIET.rows(session, before=now - SHORTEST)
        silent = [(one, seen) for one, seen in rows if seen and now - max(seen, since) > _patience(session, one, now)]
    for device_id, seen in silent:
        with database.transaction() as session:
            still = update(Device).where(
                col(Device.id) == device_id,
                col(Device.presence) == "online",
                col(Device.presence_lost_at).is_(None),
                col(Device.last_seen_at) == seen,
            )
            fallen = {"presence": "offline", "presence_since": seen, "presence_reason": SILENT}
            session.connection().execute(still.values(**fallen))
            announce(session, "devices")


_QUIET: Final = Query(
    select_columns(col(Device.id), col(Device.last_seen_at)).where(
        col(Device.presence) == "online",
        col(Device.presence_lost_at).is_(None),
        col(Device.last_seen_at) < bindparam("before", type_=UtcDateTime()),
    )
)


def _patience(session: Session, device_id: str, now: datetime) -> timedelta:
    config: DesiredConfig = compose(intents_of(session, device_id, CONFIG), now).config
    return max(SHORTEST, _HEARTBEATS * timedelta(seconds=config.heartbeat_s))
