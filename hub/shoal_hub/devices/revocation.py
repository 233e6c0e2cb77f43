"""Revoked devices: out for good, at once, under this id and with this key. A board comes back by enrolling anew.

What is written here is the decision; the controller makes the broker follow (`controller/revocations.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, delete, or_, select

from shoal_hub.broker.access import Revoked
from shoal_hub.bulk import Query
from shoal_hub.database import UtcDateTime, announce, in_parts
from shoal_hub.devices.certificates import DeviceCertificate
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.groups import leave_groups
from shoal_hub.devices.tables import DesiredRow, Device, Intent
from shoal_hub.devices.wrapped_keys import WrappedKeyRow
from shoal_hub.errors import RefusedError
from shoal_hub.events.record import record_event
from shoal_hub.registry.cost_tables import CostRow
from shoal_hub.sites.membership import leave_site

WORD: Final = "revocations"
"""What is announced when the broker has something to follow."""
ENROL_AGAIN: Final = (
    "no device is taken back under its old key: stop the agent, remove <data>/identity, enrol with a new token"
)
EXPIRY_SLACK: Final = timedelta(days=1)
"""The broker's clock decides on expiry, and may be behind the hub's."""
_ON_ITS_WAY: Final = timedelta(seconds=10)
"""What a device had sent before it was cut off may reach the hub this much later."""


def revoke(session: Session, device: Device, *, by: str, reason: str, now: datetime) -> None:
    """Revoke a device; one that is revoked already stays as it is.

    Args:
        session: An open transaction.
        device: The device.
        by: Who revokes it.
        reason: Why, for those who read the list later.
        now: The clock.
    """
    if device.revoked_at is not None:
        return
    device.revoked_at, device.revoked_by, device.revoke_reason = now, by, reason
    if device.presence != "never":
        device.presence, device.presence_since, device.presence_reason = "offline", now, "revoked"
        device.presence_lost_at = None
    session.add(device)
    good = update(DeviceCertificate).where(
        col(DeviceCertificate.device_id) == device.id, col(DeviceCertificate.retired_at).is_(None)
    )
    session.connection().execute(good.values(retired_at=now))
    leave_site(session, device.id, now)
    leave_groups(session, device.id)
    text = f"{device.name or device.id} revoked by {by}" + (f": {reason}" if reason else "")
    _record(session, "device_revoked", text, device)


def decommission(session: Session, device: Device, *, by: str, reason: str, now: datetime) -> None:
    """Revoke a device for good: what was wanted of it and what it said goes; its id, name and dates stay."""
    if device.decommissioned_at is not None:
        return
    revoke(session, device, by=by, reason=reason, now=now)
    device.decommissioned_at, device.cut_off_at, device.cleared_at = now, None, None
    device.reported, device.hardware, device.group, device.tags = None, None, "", {}
    device.encryption_key = None
    session.add(device)
    for table in (Intent, StaleDesired, DesiredRow, WrappedKeyRow, CostRow):
        session.exec(delete(table).where(col(table.device_id) == device.id))
    _record(session, "device_decommissioned", f"{device.name or device.id} decommissioned by {by}", device)


def check_key_is_welcome(session: Session, key_sha256: str, *, doing: str = "enrolling") -> None:
    """Refuse a key that belonged to a revoked device.

    Args:
        session: An open session.
        key_sha256: The key's fingerprint.
        doing: What it is to be used for, for the message.

    Raises:
        RefusedError: It did; the remedy says how such a board comes back.
    """
    by_certificate = select(DeviceCertificate.device_id).where(DeviceCertificate.key_sha256 == key_sha256)
    is_its = or_(col(Device.public_key_sha256) == key_sha256, col(Device.id).in_(by_certificate))
    device_id = session.exec(select(Device.id).where(is_its, col(Device.revoked_at).is_not(None))).first()
    if device_id is not None:
        raise RefusedError(f"{doing}: this key is the one of device {device_id}, which was revoked", ENROL_AGAIN)


def revoked_among(session: Session, device_ids: Sequence[str]) -> set[str]:
    """Return which of these devices are revoked."""
    wanted = select(Device.id).where(col(Device.revoked_at).is_not(None))
    return set(session.exec(wanted).all()) & set(device_ids)


def read_revoked(session: Session, now: datetime) -> Revoked:
    """Return what the broker has to refuse.

    A certificate that was retired, or is of a revoked device, is named until it has expired; a revoked device until it
    has been cut off and its last known certificate has expired, so that neither file grows for ever.
    """
    valid_after = now - EXPIRY_SLACK
    serials = {int(serial, 16): at for serial, at in _RETIRED.rows(session, after=valid_after)}
    devices: set[str] = set()
    for device_id, revoked_at, cut_off_at, serial, expires_at in _REVOKED.rows(session):
        is_good = serial is not None and expires_at > valid_after
        if is_good:  # one that was issued at the moment of the revocation was not there to be retired
            serials.setdefault(int(serial, 16), revoked_at)
        if is_good or cut_off_at is None or serial is None:
            devices.add(device_id)
    return Revoked(devices, serials)


@dataclass(frozen=True)
class Pending:
    """What the broker has not followed yet.

    Attributes:
        to_cut_off: Revoked devices that may still be connected, and whether each is decommissioned too.
        to_clear: Decommissioned devices of which the broker may keep something that came late.
    """

    to_cut_off: dict[str, bool]
    to_clear: list[str]


def read_pending(session: Session, now: datetime) -> Pending:
    """Return where the broker is behind; once it is cut off, a device is looked after once more, a while later."""
    to_cut_off = {one: at is not None for one, at in _TO_CUT_OFF.rows(session)}
    return Pending(to_cut_off, [one for (one,) in _TO_CLEAR.rows(session, before=now - _ON_ITS_WAY)])


_IS_REVOKED: Final = col(Device.revoked_at).is_not(None)
"""In each of these, though it may follow from the rest: by it, the few are found without going through all."""
_RETIRED: Final = Query(
    select_columns(col(DeviceCertificate.serial), col(DeviceCertificate.retired_at)).where(
        col(DeviceCertificate.retired_at).is_not(None),
        col(DeviceCertificate.expires_at) > bindparam("after", type_=UtcDateTime),
    )
)
_REVOKED: Final = Query(
    select_columns(
        col(Device.id),
        col(Device.revoked_at),
        col(Device.cut_off_at),
        col(DeviceCertificate.serial),
        col(DeviceCertificate.expires_at),
    )
    .outerjoin(DeviceCertificate, col(DeviceCertificate.device_id) == col(Device.id))
    .where(_IS_REVOKED)
)
_TO_CUT_OFF: Final = Query(
    select_columns(col(Device.id), col(Device.decommissioned_at)).where(_IS_REVOKED, col(Device.cut_off_at).is_(None))
)
_TO_CLEAR: Final = Query(
    select_columns(col(Device.id)).where(
        _IS_REVOKED,
        col(Device.decommissioned_at).is_not(None),
        col(Device.cleared_at).is_(None),
        col(Device.cut_off_at) < bindparam("before", type_=UtcDateTime),
    )
)


def note_cut_off(session: Session, device_ids: Iterable[str], now: datetime) -> None:
    """Note that the broker refuses these devices."""
    _set(session, device_ids, cut_off_at=now)


def note_cleared(session: Session, device_ids: Iterable[str], now: datetime) -> None:
    """Note that the broker keeps nothing of these devices."""
    _set(session, device_ids, cleared_at=now)


def note_heard(session: Session, device_ids: Iterable[str], now: datetime) -> None:
    """Have devices cut off again of which something was heard though the broker should refuse them."""
    for part in in_parts(sorted(device_ids)):
        statement = update(Device).where(
            col(Device.id).in_(part),
            col(Device.revoked_at).is_not(None),
            col(Device.cut_off_at) < now - _ON_ITS_WAY,
        )
        if session.connection().execute(statement.values(cut_off_at=None)).rowcount:
            announce(session, WORD)


def _set(session: Session, device_ids: Iterable[str], **values: datetime) -> None:
    for part in in_parts(sorted(device_ids)):
        session.connection().execute(update(Device).where(col(Device.id).in_(part)).values(**values))
    announce(session, "devices")


def _record(session: Session, kind: str, text: str, device: Device) -> None:
    record_event(session, kind, text, subject=f"device/{device.id}", device_id=device.id, severity="warning")
    announce(session, "devices")
    announce(session, WORD)
