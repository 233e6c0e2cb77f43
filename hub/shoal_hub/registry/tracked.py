"""Models and versions as clients of MLflow's API know them: their own names, numbers that are shared, what is hidden.

A version that no device can serve is kept here alone, with the reason. All versions of a model are numbered in one
row, and have their aliases and their history of stages in the same tables.
"""

import re
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, func, select

from shoal_contract.ids import NAME_PATTERN
from shoal_hub.compositions.names import require_free_name
from shoal_hub.database import add_unless_there, announce
from shoal_hub.errors import ExistsError, InvalidInputError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.registry.stages import note_move
from shoal_hub.registry.tables import Alias, Model, Stage, Version
from shoal_hub.registry.tracked_tables import TrackedModel, TrackedVersion

_MAX_NAME: Final = 256
_OTHERS: Final = re.compile(r"[^a-z0-9._-]+")
_START: Final = re.compile(r"^[^a-z0-9]+")
_LONGEST: Final = 63


def fleet_name(name: str) -> str:
    """Return what the registry and devices call a model: its name in small letters, other characters as dashes.

    Raises:
        InvalidInputError: Nothing is left of the name, or it could be no part of an address.
    """
    made = _START.sub("", _OTHERS.sub("-", name.lower()))[:_LONGEST].strip("-")
    if not re.fullmatch(NAME_PATTERN, made) or len(name) > _MAX_NAME or "/" in name or ":" in name:
        raise InvalidInputError(
            f"{name[:80]!r} is no name of a model", f"use letters and digits, {_MAX_NAME} at most, and neither / nor :"
        )
    return made


def create_tracked_model(session: Session, name: str, description: str, *, by: str, now: datetime) -> TrackedModel:
    """Add a model without versions, or bring back one that was deleted; its former versions stay hidden.

    Raises:
        ExistsError: There is one of this name.
        InvalidInputError: The name is none, or too much like another's for devices to tell the two apart.
    """
    made = fleet_name(name)
    there = session.get(TrackedModel, made)
    if there is not None and there.name != name and not there.is_hidden:
        raise InvalidInputError(
            f"adding the model {name!r}: devices would call it {made}, which is the model {there.name!r}",
            "choose another name",
        )
    same = session.exec(select(TrackedModel).where(TrackedModel.name == name)).first()
    if same is not None and not (same.is_hidden and same.model == made):
        raise ExistsError(f"there is a model {name!r} already", "register versions of it, or choose another name")
    if there is None:
        if session.get(Model, made) is None:
            require_free_name(session, made)
            add_unless_there(session, Model(name=made, description=description, created_at=now))
        there = track_model(session, made, name, now)
    there.name, there.is_hidden, there.updated_ms = name, False, _ms(now)
    model = session.get_one(Model, made)
    model.description = description or model.description
    session.add_all([there, model])
    session.flush()
    record_event(session, "model_added", f"{made} added by {by}", subject=f"model/{made}")
    announce(session, "models")
    return there


def track_model(session: Session, model: str, name: str, now: datetime) -> TrackedModel:
    """Have clients of MLflow's API see a model of the registry; one that they see already is left."""
    row = session.get(TrackedModel, model)
    if row is None:
        add_unless_there(session, TrackedModel(model=model, name=name, created_ms=_ms(now), updated_ms=_ms(now)))
        row = session.get_one(TrackedModel, model)
    return row


def track_version(session: Session, version: Version, now: datetime) -> TrackedVersion:
    """Have them see a version that devices can serve."""
    track_model(session, version.model, version.model, now)
    row = TrackedVersion(
        model=version.model,
        number=version.number,
        is_served=True,
        created_by=version.created_by,
        created_ms=_ms(now),
        updated_ms=_ms(now),
    )
    session.add(row)
    session.flush()
    return row


def find_tracked_model(session: Session, name: str) -> TrackedModel:
    """Return a model by the name that such clients use.

    Raises:
        NotFoundError: There is none, or it was deleted.
    """
    row = session.exec(select(TrackedModel).where(TrackedModel.name == name)).first()
    if row is None or row.is_hidden:
        raise NotFoundError(f"no registered model with the name {name[:80]!r}", "list them: shoal models list")
    return row


def find_tracked_version(session: Session, name: str, number: str) -> TrackedVersion:
    """Return a version by the model's name and its number.

    Raises:
        NotFoundError: There is none, or it was deleted.
    """
    model = find_tracked_model(session, name).model
    known = number.isascii() and number.isdigit() and len(number) < 10  # noqa: PLR2004 - nine digits fit the column
    row = session.get(TrackedVersion, (model, int(number))) if known else None
    if row is None or row.is_hidden:
        raise NotFoundError(f"no version {number[:20]!r} of {name[:80]!r}", f"list them: shoal models show {model}")
    return row


def rename_model(session: Session, row: TrackedModel, name: str, now: datetime) -> None:
    """Have such clients call a model otherwise; devices and signed manifests keep the name that they have.

    Raises:
        ExistsError: There is one of the new name.
    """
    fleet_name(name)
    if session.exec(select(TrackedModel).where(TrackedModel.name == name)).first() is not None:
        raise ExistsError(f"there is a model {name!r} already", "choose another name")
    row.name, row.updated_ms = name, _ms(now)
    session.add(row)
    announce(session, "models")


def delete_version(session: Session, row: TrackedVersion, *, by: str, now: datetime) -> None:
    """Hide a version from such clients, archived and without its aliases: devices may run it, and records name it."""
    for alias in session.exec(select(Alias).where(Alias.model == row.model, Alias.number == row.number)):
        session.delete(alias)
    move_tracked(session, row, "archived", by=by, comment="deleted by a client of MLflow's API", now=now)
    row.is_hidden, row.updated_ms = True, _ms(now)
    session.add(row)
    announce(session, "models")


def delete_model(session: Session, row: TrackedModel, *, by: str, now: datetime) -> None:
    """Hide a model and all its versions, as `delete_version` does each."""
    wanted = select(TrackedVersion).where(TrackedVersion.model == row.model, col(TrackedVersion.is_hidden).is_(False))
    for version in session.exec(wanted).all():
        delete_version(session, version, by=by, now=now)
    row.is_hidden, row.updated_ms = True, _ms(now)
    session.add(row)
    announce(session, "models")


def stage_of(session: Session, row: TrackedVersion) -> Stage:
    """Return a version's stage, which the registry knows of those that devices can serve."""
    served = served_version(session, row)
    return served.stage if served is not None else row.stage


def served_version(session: Session, row: TrackedVersion) -> Version | None:
    """Return the registry's version of this number; None where no device can serve it."""
    if not row.is_served:
        return None
    return session.exec(select(Version).where(Version.model == row.model, Version.number == row.number)).one()


def move_tracked(session: Session, row: TrackedVersion, stage: Stage, *, by: str, comment: str, now: datetime) -> None:
    """Move a version to a stage as such, without what production means to others."""
    served = served_version(session, row)
    thing: Version | TrackedVersion = served if served is not None else row
    if thing.stage != stage:
        note_move(session, thing, stage, by=by, comment=comment, now=now)
        row.updated_ms = _ms(now)
        session.add(row)


def next_number(session: Session, model: str) -> int:
    """Return the number of a model's next version; the model's row is locked by whoever asks."""
    served = session.exec(select(func.max(Version.number)).where(Version.model == model)).one() or 0
    tracked = session.exec(select(func.max(TrackedVersion.number)).where(TrackedVersion.model == model)).one() or 0
    return max(served, tracked) + 1


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
