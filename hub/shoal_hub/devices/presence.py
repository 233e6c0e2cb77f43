"""Takes in what devices say of themselves. Rows move only forward, by (connection, sequence).

The statements are built once: building one takes several times as long as executing it, and there is one a message.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, Update, and_, bindparam, or_, update
from sqlmodel import Session, col

from shoal_contract.reported import CONNECTION_LOST, Presence, ReportedState
from shoal_hub.bulk import Bulk
from shoal_hub.database import JsonText, announce
from shoal_hub.devices.tables import Device


def apply_presence(session: Session, device_id: str, presence: Presence, now: datetime) -> bool:
    """Note that a device came, went or lost its connection; return whether it was news.

    An `offline` of an older connection, which may arrive after the `online` of a new one, is not. Who loses the
    connection stays online for now: `note_lost` ends that unless the device comes back.
    """
    values = {
        "of_device": device_id,
        "at_connection": presence.connection,
        "at_sequence": presence.sequence,
        "new_presence": presence.state,
        "new_since": presence.since,
        "new_reason": presence.reason,
    }
    if presence.state == "offline" and presence.reason == CONNECTION_LOST:
        places = {name: values[name] for name in ("of_device", "at_connection", "at_sequence")}
        if session.connection().execute(_LOST, places | {"lost_at": now}).rowcount:
            return True  # nothing that is shown has changed
        values["new_since"] = now  # the will was written when the connection was made
    if presence.state == "online":
        is_news = session.connection().execute(_CAME, values | {"new_seen": now}).rowcount > 0
    else:
        is_news = session.connection().execute(_WENT, values).rowcount > 0
    if is_news:
        announce(session, "devices")
    return is_news


def note_return(session: Session, beats: Mapping[str, int]) -> None:
    """Note that devices are back whose heartbeats are of a later connection than the one that was lost.

    Args:
        session: An open transaction.
        beats: The connection of the latest heartbeat, by device id.
    """
    values = [{"of_device": one, "at_connection": connection} for one, connection in sorted(beats.items())]
    if values:
        session.connection().execute(_RETURNED, values)


def apply_reports(session: Session, reports: Mapping[str, ReportedState], now: datetime) -> int:
    """Keep devices' reported states, by device id, where they are newer than the ones kept; return how many were."""
    values = [
        {
            "of_device": device_id,
            "at_connection": reported.connection,
            "at_sequence": reported.sequence,
            "new_reported": JsonText(reported.model_dump_json(exclude_none=True)),
            "new_at": reported.at,
            "new_epoch": reported.epoch,
            "new_generation": reported.generation,
            "new_hardware": JsonText(reported.hardware.model_dump_json()),
            "new_seen": now,
        }
        for device_id, reported in sorted(reports.items())
    ]
    newer = _REPORTED.execute(session, values)
    if newer:
        announce(session, "devices")
    return newer


def _newer(connection: Any, sequence: Any) -> Update:  # noqa: ANN401 - columns
    """Return the statement that changes a device which is not revoked, if what it has there is older."""
    at_connection: BindParameter[int] = bindparam("at_connection")
    at_sequence: BindParameter[int] = bindparam("at_sequence")
    follows = or_(col(connection) < at_connection, and_(col(connection) == at_connection, col(sequence) < at_sequence))
    return update(Device).where(col(Device.id) == bindparam("of_device"), col(Device.revoked_at).is_(None), follows)


_WENT: Final = _newer(Device.presence_connection, Device.presence_sequence).values(
    presence=bindparam("new_presence"),
    presence_connection=bindparam("at_connection"),
    presence_sequence=bindparam("at_sequence"),
    presence_since=bindparam("new_since"),
    presence_reason=bindparam("new_reason"),
    presence_lost_at=None,
)
_LOST: Final = (
    _newer(Device.presence_connection, Device.presence_sequence)
    .where(col(Device.presence) == "online")
    .values(
        presence_connection=bindparam("at_connection"),
        presence_sequence=bindparam("at_sequence"),
        presence_lost_at=bindparam("lost_at"),
    )
)
_RETURNED: Final = (
    update(Device)
    .where(
        col(Device.id) == bindparam("of_device"),
        col(Device.presence_lost_at).is_not(None),
        col(Device.presence_connection) < bindparam("at_connection"),
    )
    .values(presence_lost_at=None)
)
_CAME: Final = _WENT.values(last_seen_at=bindparam("new_seen"))
_REPORTED: Final = Bulk(
    _newer(Device.reported_connection, Device.reported_sequence).values(
        reported=bindparam("new_reported"),
        reported_connection=bindparam("at_connection"),
        reported_sequence=bindparam("at_sequence"),
        reported_at=bindparam("new_at"),
        reported_epoch=bindparam("new_epoch"),
        reported_generation=bindparam("new_generation"),
        hardware=bindparam("new_hardware"),
        last_seen_at=bindparam("new_seen"),
    )
)
