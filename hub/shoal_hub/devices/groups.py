"""Who is in a group, and the home that a device gets at its enrolment. Making groups is left to `group_changes.py`.

A static group and what devices enrol into are one thing: `Device.group` names a device's home, its one group of those
that enrolment and `shoal devices move` decide on; a static group may list devices whose home is elsewhere besides.
"""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import Session, col, delete, or_, select

from shoal_hub.database import add_unless_there, utc_now
from shoal_hub.devices.group_tables import DeviceGroup, GroupDevice
from shoal_hub.devices.matching import matching_ids
from shoal_hub.devices.query import parse_query
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, NotFoundError


def find_group(session: Session, name: str, *, is_locked: bool = False) -> DeviceGroup:
    """Return a group by name; locked, nobody else changes it before this transaction has ended.

    Raises:
        NotFoundError: There is none.
    """
    wanted = select(DeviceGroup).where(DeviceGroup.name == name)
    group = session.exec(wanted.with_for_update() if is_locked else wanted).first()
    if group is None:
        raise NotFoundError(f"no group {name}", "list them: shoal groups list")
    return group


def member_ids(session: Session, group: DeviceGroup, now: datetime) -> list[str]:
    """Return the ids of the unrevoked devices that are in a group now, by the devices' names.

    Args:
        session: An open session.
        group: Static or dynamic.
        now: The clock, for the ages in a query.
    """
    if group.query is not None:
        return list(matching_ids(session, parse_query(group.query), now))
    wanted = select(Device.id).where(*_static_members(group))
    return list(session.exec(wanted.order_by(col(Device.name), col(Device.id))))


def count_members(session: Session, group: DeviceGroup, now: datetime) -> int:
    """Return how many `member_ids` would return."""
    if group.query is not None:
        return sum(1 for _ in matching_ids(session, parse_query(group.query), now))
    return session.exec(select(func.count()).select_from(Device).where(*_static_members(group))).one()


def listed_devices(session: Session, name: str) -> list[str]:
    """Return the ids of the devices that a static group lists, by id."""
    return list(
        session.exec(select(GroupDevice.device_id).where(GroupDevice.group == name).order_by(GroupDevice.device_id))
    )


def is_home_or_listed(name: str) -> ColumnElement[bool]:
    """Return the condition on `Device` of being in the static group of this name, revoked or not."""
    listed = select(GroupDevice.device_id).where(GroupDevice.group == name)
    return or_(col(Device.group) == name, col(Device.id).in_(listed))


def make_home(session: Session, name: str, *, by: str) -> None:
    """Have a static group of this name, which devices are about to get as their home; empty for none.

    It cannot be deleted before this transaction has ended.

    Raises:
        ConflictError: The name is a dynamic group's.
    """
    if not name:
        return
    session.flush()
    group = session.get(DeviceGroup, name, with_for_update={"read": True})
    if group is None:
        add_unless_there(session, DeviceGroup(name=name, created_by=by, created_at=utc_now()))
        group = session.get_one(DeviceGroup, name, with_for_update={"read": True})
    if group.query is not None:
        raise ConflictError(
            f"putting devices into the group {name}: it is dynamic, its members are the devices that match its query",
            "name another group, or change the device so that it matches",
        )


def leave_groups(session: Session, device_id: str) -> None:
    """Take a revoked device off every list; what was its home is still told."""
    session.exec(delete(GroupDevice).where(col(GroupDevice.device_id) == device_id))


def _static_members(group: DeviceGroup) -> tuple[ColumnElement[bool], ...]:
    return col(Device.revoked_at).is_(None), is_home_or_listed(group.name)
