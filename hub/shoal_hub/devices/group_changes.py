"""Makes, changes and ends groups. A group stays static or dynamic for as long as it is there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import Session, SQLModel, col, delete, or_, select

from shoal_hub.captures.asking import drop_group_captures
from shoal_hub.compositions.kept import drop_group_compositions
from shoal_hub.database import AdvisoryLock, announce, hold
from shoal_hub.devices.admission_tables import AuthorisedKey, PendingEnrolment
from shoal_hub.devices.group_tables import DeviceGroup, GroupDevice
from shoal_hub.devices.groups import find_group, listed_devices
from shoal_hub.devices.query import parse_query
from shoal_hub.devices.tables import Device, EnrolmentTokenRow
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.features.assign import drop_group_features
from shoal_hub.traffic.limits import drop_group_limits, follow_listing

MAX_LISTED_DEVICES: Final = 10_000
"""Devices that one static group may list, besides those whose home it is; a larger selection is a query."""


@dataclass(frozen=True)
class GroupChange:
    """What becomes different; what is None or empty stays.

    Attributes:
        query: Another query, for a dynamic group.
        description: Another description.
        add: Devices that a static group is to list, too.
        remove: Devices that it is to list no more.
    """

    query: str | None = None
    description: str | None = None
    add: Collection[str] = ()
    remove: Collection[str] = ()


def create_group(session: Session, name: str, change: GroupChange, *, by: str, now: datetime) -> DeviceGroup:
    """Make a group: dynamic if there is a query, static otherwise.

    Raises:
        QueryError: The query is none.
        InvalidInputError: There are both a query and devices, or too many devices.
        ConflictError: The name is taken, or a device is revoked.
        NotFoundError: There is no such device.
    """
    if change.query is not None:
        parse_query(change.query)
        if change.add:
            raise InvalidInputError(
                f"making the group {name}: a group is static or dynamic, this one has devices and a query",
                "leave one of them out; a query can name devices: id in (d-…, d-…)",
            )
    _check_devices(session, name, change.add)
    group = DeviceGroup(
        name=name, query=change.query, description=change.description or "", created_by=by, created_at=now
    )
    session.add(group)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(
            f"there is a group {name} already", "choose another name, or change it: shoal groups set"
        ) from error
    _list(session, name, change.add)
    _record(session, "group_created", f"{group.kind} group {name} made by {by}", name)
    return group


def change_group(session: Session, name: str, change: GroupChange, *, by: str) -> DeviceGroup:
    """Give a group another query, other devices or another description.

    Raises:
        QueryError: The query is none.
        InvalidInputError: It would list too many devices.
        ConflictError: It is of the other kind, a device is revoked, or has this group as its home.
        NotFoundError: There is no such group or device.
    """
    group = find_group(session, name, is_locked=True)
    _check_kind(group, change)
    if change.query is not None:
        parse_query(change.query)
        group.query = change.query
    if change.description is not None:
        group.description = change.description
    session.add(group)
    _check_devices(session, name, change.add)
    _check_homes(session, name, change.remove)
    if change.remove:
        gone = col(GroupDevice.device_id).in_(change.remove)
        session.exec(delete(GroupDevice).where(col(GroupDevice.group) == name, gone))
    _list(session, name, change.add)
    follow_listing(session, name, {*change.add, *_unrevoked(session, change.remove)})
    _record(session, "group_changed", f"group {name} changed by {by}", name)
    return group


def delete_group(session: Session, name: str, *, by: str, now: datetime) -> DeviceGroup:
    """End a group, with its limits and what its devices were asked; its devices stay.

    Raises:
        ConflictError: It is the home of devices, or of devices that may still enrol.
        NotFoundError: There is no such group.
    """
    hold(session, AdvisoryLock.FEATURES)  # whoever assigns to the group has these before the group's row
    hold(session, AdvisoryLock.CAPTURES)
    hold(session, AdvisoryLock.COMPOSITIONS)
    group = find_group(session, name, is_locked=True)
    _check_is_no_home(session, name, now)
    revoked = update(Device).where(col(Device.group) == name, col(Device.revoked_at).is_not(None))
    session.connection().execute(revoked.values(group=""))
    drop_group_limits(session, name)
    drop_group_features(session, name, now)
    drop_group_captures(session, name, now)
    drop_group_compositions(session, name, now)
    session.exec(delete(GroupDevice).where(col(GroupDevice.group) == name))
    session.delete(group)
    _record(session, "group_deleted", f"group {name} ended by {by}", name)
    return group


def _check_kind(group: DeviceGroup, change: GroupChange) -> None:
    if group.query is None and change.query is not None:
        raise ConflictError(
            f"changing the group {group.name}: it is static, and has no query",
            "make another group with the query: shoal groups create --query",
        )
    if group.query is not None and (change.add or change.remove):
        raise ConflictError(
            f"changing the group {group.name}: it is dynamic, and lists no devices",
            "change its query, or tag the devices so that they match",
        )


def _check_devices(session: Session, name: str, device_ids: Collection[str]) -> None:
    """Hold devices that are to be listed until the transaction ends, and see that each may be."""
    if len(device_ids) > MAX_LISTED_DEVICES:
        raise _too_many(name, len(device_ids))
    wanted = select(Device.id, Device.revoked_at).where(col(Device.id).in_(device_ids)).order_by(col(Device.id))
    found = dict(session.exec(wanted.with_for_update()).all())
    if missing := sorted(set(device_ids) - found.keys()):
        raise NotFoundError(
            f"putting devices into the group {name}: no device {missing[0]}", "list them: shoal devices list"
        )
    if revoked := sorted(one for one, revoked_at in found.items() if revoked_at is not None):
        raise ConflictError(f"putting devices into the group {name}: {revoked[0]} was revoked", "leave it out")


def _unrevoked(session: Session, device_ids: Collection[str]) -> list[str]:
    wanted = select(Device.id).where(col(Device.id).in_(device_ids), col(Device.revoked_at).is_(None))
    return list(session.exec(wanted)) if device_ids else []


def _check_homes(session: Session, name: str, device_ids: Collection[str]) -> None:
    at_home = select(Device.id).where(col(Device.id).in_(device_ids), Device.group == name)
    if staying := session.exec(at_home.order_by(col(Device.id))).first():
        raise ConflictError(
            f"taking devices out of the group {name}: it is the home of {staying}, which enrolled or was moved there",
            f"give it another home, or none: shoal devices move {staying} ''",
        )


def _list(session: Session, name: str, device_ids: Collection[str]) -> None:
    listed = set(listed_devices(session, name))
    if len(listed | set(device_ids)) > MAX_LISTED_DEVICES:
        raise _too_many(name, len(listed | set(device_ids)))
    session.add_all(GroupDevice(group=name, device_id=one) for one in sorted(set(device_ids) - listed))


def _too_many(name: str, count: int) -> InvalidInputError:
    return InvalidInputError(
        f"putting devices into the group {name}: it would list {count}, {MAX_LISTED_DEVICES} is the most",
        "tag them, and make a group of the query: shoal groups create --query",
    )


def _check_is_no_home(session: Session, name: str, now: datetime) -> None:
    for table, what, remedy, conditions in _homes(name, now):
        if count := session.exec(select(func.count()).select_from(table).where(*conditions)).one():
            raise ConflictError(f"ending the group {name}: {count} {what} have it as their home", remedy)


def _homes(name: str, now: datetime) -> Iterator[tuple[type[SQLModel], str, str, tuple[ColumnElement[bool], ...]]]:
    """Yield in which tables the group may be a home, of what, what to do, and which rows count."""
    yield (
        Device,
        "devices",
        "move them: shoal devices move",
        (col(Device.group) == name, col(Device.revoked_at).is_(None)),
    )
    yield (
        EnrolmentTokenRow,
        "enrolment tokens",
        "wait until they expire, or withdraw them: shoal tokens revoke",
        (
            col(EnrolmentTokenRow.group) == name,
            col(EnrolmentTokenRow.revoked_at).is_(None),
            col(EnrolmentTokenRow.expires_at) > now,
            col(EnrolmentTokenRow.uses_left) > 0,
        ),
    )
    ends = col(AuthorisedKey.expires_at)
    yield (
        AuthorisedKey,
        "authorised keys",
        "withdraw them: shoal devices withdraw",
        (
            col(AuthorisedKey.group) == name,
            col(AuthorisedKey.device_id).is_(None),
            or_(ends.is_(None), ends > now),
        ),
    )
    yield (
        PendingEnrolment,
        "devices that were accepted and have not come back",
        "wait for them, or reject them: shoal devices reject",
        (col(PendingEnrolment.group) == name, col(PendingEnrolment.state) == "accepted"),
    )


def _record(session: Session, kind: str, text: str, name: str) -> None:
    record_event(session, kind, text, subject=f"group/{name}")
    announce(session, "devices")
