"""Assigns sets to groups and devices, and takes them away."""

from datetime import datetime

from sqlmodel import Session, col, delete, select

from shoal_hub.database import AdvisoryLock, announce, hold
from shoal_hub.devices.assigned import require_target, target_text
from shoal_hub.devices.placement_tables import Scope
from shoal_hub.errors import NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.features.placing import place
from shoal_hub.features.sets import find_set
from shoal_hub.features.tables import FeatureAssignment


def assign(session: Session, name: str, scope: Scope, target: str, *, by: str, now: datetime) -> None:
    """Have the devices of a group, whoever is in it at the time, or one device compute a set.

    Raises:
        NotFoundError: There is no such set, group or device.
        ConflictError: The device was revoked, or the set does not fit beside what is assigned there already.
    """
    hold(session, AdvisoryLock.FEATURES)
    find_set(session, name, is_locked=True)
    require_target(session, f"assigning features {name}", scope, target)
    if session.get(FeatureAssignment, (name, scope, target)) is not None:
        return
    session.add(FeatureAssignment(name=name, scope=scope, target=target, assigned_by=by, assigned_at=now))
    session.flush()
    place(session, now, is_strict=True)
    _record(session, name, f"features {name} assigned to {target_text(scope, target)} by {by}")


def unassign(session: Session, name: str, scope: Scope, target: str, *, by: str, now: datetime) -> None:
    """Take a set away from a group or a device; a device that has it by another way keeps it.

    Raises:
        NotFoundError: It is not assigned there.
    """
    hold(session, AdvisoryLock.FEATURES)
    find_set(session, name, is_locked=True)
    row = session.get(FeatureAssignment, (name, scope, target))
    if row is None:
        raise NotFoundError(
            f"features {name} are not assigned to {target_text(scope, target)}", f"look: shoal features show {name}"
        )
    session.delete(row)
    session.flush()
    place(session, now, is_strict=False)
    _record(session, name, f"features {name} taken from {target_text(scope, target)} by {by}")


def drop_group_features(session: Session, group: str, now: datetime) -> None:
    """Take away what is assigned to a group that ends; its devices are told.

    Args:
        session: An open transaction.
        group: The group, locked.
        now: The clock.
    """
    is_its = col(FeatureAssignment.scope) == "groups", col(FeatureAssignment.target) == group
    if session.exec(select(FeatureAssignment.name).where(*is_its)).first() is not None:
        session.exec(delete(FeatureAssignment).where(*is_its))
        place(session, now, is_strict=False)


def _record(session: Session, name: str, text: str) -> None:
    record_event(session, "features_assigned", text, subject=f"features/{name}")
    announce(session, "features")
