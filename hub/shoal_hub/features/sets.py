"""Keeps feature sets: a new version each time one is set to something else, and none of them changed afterwards."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, and_, col, delete, select

from shoal_contract.features import DesiredFeatures
from shoal_hub.database import AdvisoryLock, add_unless_there, announce, hold, is_among
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.features.check import check_set
from shoal_hub.features.placing import place
from shoal_hub.features.tables import FeatureAssignment, FeatureSet, FeatureSetVersion

MAX_SETS: Final = 1000
MAX_KEPT_VERSIONS: Final = 100
"""Of one set; beyond it the oldest goes."""


def find_set(session: Session, name: str, *, is_locked: bool = False) -> FeatureSet:
    """Return a set by name; locked, nobody else changes it before this transaction has ended.

    Raises:
        NotFoundError: There is none.
    """
    wanted = select(FeatureSet).where(FeatureSet.name == name)
    found = session.exec(wanted.with_for_update() if is_locked else wanted).first()
    if found is None:
        raise NotFoundError(f"no features {name}", "list them: shoal features list")
    return found


def find_version(session: Session, name: str, number: int | None = None) -> FeatureSetVersion:
    """Return one version of a set, the newest without a number.

    Raises:
        NotFoundError: There is none.
    """
    number = number or find_set(session, name).version
    found = session.get(FeatureSetVersion, (name, number))
    if found is None:
        raise NotFoundError(f"no version {number} of features {name}", f"list them: shoal features show {name}")
    return found


def current_versions(session: Session) -> Sequence[FeatureSetVersion]:
    """Return the newest version of each set, by name."""
    is_newest = FeatureSet.name == FeatureSetVersion.name, FeatureSet.version == FeatureSetVersion.number
    wanted = select(FeatureSetVersion).join(FeatureSet, and_(*is_newest))
    return session.exec(wanted.order_by(FeatureSetVersion.name)).all()


def versions_of(session: Session, name: str) -> Sequence[FeatureSetVersion]:
    """Return the versions of a set that are kept, the newest first."""
    wanted = select(FeatureSetVersion).where(FeatureSetVersion.name == name)
    return session.exec(wanted.order_by(col(FeatureSetVersion.number).desc())).all()


def put_set(session: Session, name: str, body: DesiredFeatures, *, by: str, now: datetime) -> FeatureSet:
    """Make a set, or give it a new version, which its devices are told of; set to what it is, nothing happens.

    Raises:
        InvalidInputError: No device could compute it.
        ConflictError: It does not fit to what is assigned to a device besides, or there are too many sets.
    """
    check_set(name, body)
    hold(session, AdvisoryLock.FEATURES)
    _require_room(session, name)
    session.flush()
    add_unless_there(session, FeatureSet(name=name, version=0, created_by=by, created_at=now))
    found = find_set(session, name, is_locked=True)
    content = body.model_dump(mode="json")
    newest = session.get(FeatureSetVersion, (name, found.version))
    if newest is not None and newest.body == content:
        return found
    found.version += 1
    session.add(found)
    session.add(FeatureSetVersion(name=name, number=found.version, body=content, set_by=by, set_at=now))
    session.flush()
    old = col(FeatureSetVersion.number) <= found.version - MAX_KEPT_VERSIONS
    session.exec(delete(FeatureSetVersion).where(col(FeatureSetVersion.name) == name, old))
    place(session, now, is_strict=True)
    text = f"features {name} version {found.version} set by {by}"
    record_event(session, "features_set", text, subject=f"features/{name}", at=now)
    announce(session, "features")
    return found


def remove_set(session: Session, name: str, *, by: str) -> FeatureSet:
    """Forget a set with all its versions.

    Raises:
        NotFoundError: There is none.
        ConflictError: It is assigned.
    """
    found = find_set(session, name, is_locked=True)
    assigned = assignments_of(session, [name])
    if assigned:
        first = assigned[0]
        raise ConflictError(
            f"removing features {name}: they are assigned to {first.scope.removesuffix('s')} {first.target}",
            f"unassign them first: shoal features unassign {name} --{first.scope.removesuffix('s')} {first.target}",
        )
    session.exec(delete(FeatureSetVersion).where(col(FeatureSetVersion.name) == name))
    session.delete(found)
    record_event(session, "features_removed", f"features {name} removed by {by}", subject=f"features/{name}")
    announce(session, "features")
    return found


def assignments_of(session: Session, names: Collection[str]) -> Sequence[FeatureAssignment]:
    """Return whom sets are assigned to, by set and target."""
    wanted = select(FeatureAssignment).where(is_among(col(FeatureAssignment.name), names))
    return session.exec(
        wanted.order_by(FeatureAssignment.name, FeatureAssignment.scope, FeatureAssignment.target)
    ).all()


def _require_room(session: Session, name: str) -> None:
    known = set(session.exec(select(FeatureSet.name)))
    if name not in known and len(known) >= MAX_SETS:
        raise ConflictError(
            f"making features {name}: there are {len(known)}, at most {MAX_SETS} are kept",
            "remove one that is not assigned: shoal features remove",
        )
