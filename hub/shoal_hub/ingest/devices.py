"""What a batch reads and writes of the devices that have sent it: one statement for all of them, not one for each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import String, bindparam
from sqlalchemy import select as select_columns
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select, update

from shoal_contract.reported import Presence, ReportedState
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import announce, as_texts, is_among
from shoal_hub.devices.clones import note_instance
from shoal_hub.devices.presence import apply_presence, apply_reports
from shoal_hub.devices.silence import SILENT
from shoal_hub.devices.tables import Device
from shoal_hub.ingest.receive import Received
from shoal_hub.ingest.sequence import Position


class Sender(NamedTuple):
    """A device as it stood before the batch, as far as the batch depends on it."""

    id: str
    outbox_stream: str
    outbox_sequence: int
    presence_connection: int
    public_key_sha256: str
    presence_reason: str

    @property
    def position(self) -> Position:
        """How far its outbox is committed."""
        return Position(self.outbox_stream, self.outbox_sequence)


class Move(NamedTuple):
    """How far a device's outbox was committed, and is."""

    device_id: str
    before: Position
    after: Position


def load_senders(session: Session, device_ids: Iterable[str]) -> dict[str, Sender]:
    """Return the devices that are enrolled and not revoked, in the order of their ids, and keep their rows locked.

    Locked in one order, another ingest with some of the same devices waits, and neither for the other. What refers to a
    device can be written meanwhile.
    """
    return {row[0]: Sender(*row) for row in _SENDERS.rows(session, ids=as_texts(device_ids))}


def take_states(
    session: Session, senders: Mapping[str, Sender], received: Mapping[str, list[Received]], now: datetime
) -> None:
    """Keep presence, and the latest reported state: each one is whole, so those before it in the batch say no more."""
    latest: dict[str, ReportedState] = {}
    for device_id in senders:
        reports = [one.message for one in received[device_id] if isinstance(one.message, ReportedState)]
        if reports:
            latest[device_id] = max(reports, key=lambda report: (report.connection, report.sequence))
        for one in received[device_id]:
            if isinstance(one.message, Presence):
                _take_presence(session, device_id, one.message, now)
    apply_reports(session, latest, now)


def move_outboxes(session: Session, moves: Sequence[Move], now: datetime) -> bool:
    """Note how far outboxes are committed; return False where another process has committed of one of them."""
    if not moves:
        return True
    values = [
        {
            "of_device": one.device_id,
            "before_stream": one.before.stream,
            "before_sequence": one.before.sequence,
            "after_stream": one.after.stream,
            "after_sequence": one.after.sequence,
            "at": now,
        }
        for one in moves
    ]
    return _MOVE.execute(session, values) == len(values)


def note_seen(
    session: Session, senders: Mapping[str, Sender], moved: Collection[str], others: Collection[str], now: datetime
) -> None:
    """Note that devices were heard of now; one that was taken for silent is back.

    Args:
        session: An open transaction.
        senders: The devices as they stood before.
        moved: Devices whose outbox was moved, which has noted the time.
        others: Devices that were heard of otherwise.
        now: The clock.
    """
    late = set(others) - set(moved)
    if late:
        _SEEN.execute(session, [{"ids": as_texts(late), "at": now}])
    back = [one for one in late | set(moved) if senders[one].presence_reason == SILENT]
    if back and _BACK.execute(session, [{"ids": as_texts(back), "at": now}]):
        announce(session, "devices")


def _take_presence(session: Session, device_id: str, presence: Presence, now: datetime) -> None:
    if apply_presence(session, device_id, presence, now) and presence.state == "online":
        device = session.exec(select(Device).where(Device.id == device_id).options(*_UNREAD)).one()
        note_instance(session, device, presence, now)


_AMONG: Final = bindparam("ids", type_=String())
_COLUMNS: Final[list[Any]] = [getattr(Device, name) for name in Sender._fields]
_SENDERS: Final = Query(
    select_columns(*_COLUMNS)
    .where(is_among(col(Device.id), _AMONG), col(Device.revoked_at).is_(None))
    .order_by(col(Device.id))
    .with_for_update(key_share=True)
)
_SEEN: Final = Bulk(update(Device).where(is_among(col(Device.id), _AMONG)).values(last_seen_at=bindparam("at")))
_BACK: Final = Bulk(
    update(Device)
    .where(is_among(col(Device.id), _AMONG), col(Device.presence) == "offline", col(Device.presence_reason) == SILENT)
    .values(presence="online", presence_since=bindparam("at"), presence_reason="")
)
_UNREAD: Final = [defer(getattr(Device, name)) for name in ("reported", "hardware")]
"""What nobody reads of a device here, and takes most of the time to load: JSON."""
_MOVE: Final = Bulk(
    update(Device)
    .where(
        col(Device.id) == bindparam("of_device"),
        col(Device.outbox_stream) == bindparam("before_stream"),
        col(Device.outbox_sequence) == bindparam("before_sequence"),
    )
    .values(
        outbox_stream=bindparam("after_stream"),
        outbox_sequence=bindparam("after_sequence"),
        last_seen_at=bindparam("at"),
    )
)
