"""Whom things are assigned to: groups, whoever is in them at the time, and devices by themselves."""

from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session, col, select

from shoal_hub.database import is_among
from shoal_hub.devices.groups import find_group
from shoal_hub.devices.placement_tables import Scope
from shoal_hub.devices.placing import members_of
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, NotFoundError

_Thing = TypeVar("_Thing", bound=Hashable)


def require_target(session: Session, doing: str, scope: Scope, target: str) -> None:
    """See that something can be assigned to a group, which is locked, or to a device.

    Args:
        session: An open transaction.
        doing: How an error begins, like `assigning features pumps`.
        scope: What the target is.
        target: The group's name, or the device's id.

    Raises:
        NotFoundError: There is no such group or device.
        ConflictError: The device was revoked.
    """
    if scope == "groups":
        find_group(session, target, is_locked=True)
        return
    device = session.get(Device, target)
    if device is None:
        raise NotFoundError(f"{doing}: no device {target}", "list them: shoal devices list")
    if device.revoked_at is not None:
        raise ConflictError(f"{doing} to {target}: it was revoked, and can be told nothing", "leave it out")


def target_text(scope: Scope, target: str) -> str:
    """Return how people call a target."""
    return f"group {target}" if scope == "groups" else target


def devices_of(session: Session, assigned: Iterable[tuple[_Thing, str, str]], now: datetime) -> dict[_Thing, set[str]]:
    """Return for each thing the unrevoked devices that have it, one way or another.

    Args:
        session: An open session.
        assigned: Things, with what each is assigned to.
        now: The clock.
    """
    rows = list(assigned)
    members = members_of(session, (target for _, scope, target in rows if scope == "groups"), now)
    single = is_among(col(Device.id), (target for _, scope, target in rows if scope == "devices"))
    good = set(session.exec(select(Device.id).where(single, col(Device.revoked_at).is_(None))))
    having: dict[_Thing, set[str]] = {}
    for thing, scope, target in rows:
        having.setdefault(thing, set()).update(members[target] if scope == "groups" else good & {target})
    return having
