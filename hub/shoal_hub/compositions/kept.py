"""Keeps compositions, and whom they are assigned to; each change is told to the devices that serve them."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, delete, select

from shoal_contract.compositions import Cascade, DesiredComposition, Ensemble
from shoal_hub.compositions.check import check_composition
from shoal_hub.compositions.placing import place, withdraw
from shoal_hub.compositions.tables import CompositionAssignment, CompositionRow
from shoal_hub.database import AdvisoryLock, announce, hold, is_among
from shoal_hub.devices.assigned import require_target, target_text
from shoal_hub.devices.placement_tables import Scope
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event

MAX_KEPT: Final = 1000


def find_composition(session: Session, name: str, *, is_locked: bool = False) -> CompositionRow:
    """Return a composition by name; locked, nobody else changes it before this transaction has ended.

    Raises:
        NotFoundError: There is none.
    """
    wanted = select(CompositionRow).where(CompositionRow.name == name)
    found = session.exec(wanted.with_for_update() if is_locked else wanted).first()
    if found is None:
        raise NotFoundError(f"no composition {name}", "list them: shoal compositions list")
    return found


def create_composition(
    session: Session, name: str, form: Ensemble | Cascade, *, by: str, now: datetime
) -> CompositionRow:
    """Keep a composition under a name; no device serves it before it is assigned.

    Raises:
        ConflictError: There is a composition or a model of this name, or there are too many compositions.
        InvalidInputError: Its members are no models, or do not fit each other.
    """
    hold(session, AdvisoryLock.COMPOSITIONS)
    if session.get(CompositionRow, name) is not None:
        raise ConflictError(
            f"composing {name}: there is a composition of this name", f"change it: shoal compositions change {name}"
        )
    if (count := len(session.exec(select(CompositionRow.name)).all())) >= MAX_KEPT:
        raise ConflictError(
            f"composing {name}: there are {count} compositions, which is the most",
            "remove one: shoal compositions remove",
        )
    check_composition(session, name, DesiredComposition(form=form))
    content = form.model_dump(mode="json")
    row = CompositionRow(name=name, version=1, form=content, created_by=by, created_at=now, set_by=by, set_at=now)
    session.add(row)
    session.flush()
    _record(session, "composition_created", f"composition {name} created by {by}", name)
    return row


def change_composition(
    session: Session, name: str, form: Ensemble | Cascade, *, by: str, now: datetime
) -> CompositionRow:
    """Give a composition another form, as its next version, which its devices are told of; the same again is none.

    Raises:
        NotFoundError: There is none.
        ConflictError: A model has its name.
        InvalidInputError: Its members are no models, or do not fit each other.
    """
    hold(session, AdvisoryLock.COMPOSITIONS)
    row = find_composition(session, name, is_locked=True)
    content = form.model_dump(mode="json")
    if row.form == content:
        return row
    check_composition(session, name, DesiredComposition(form=form))
    row.version, row.form, row.set_by, row.set_at = row.version + 1, content, by, now
    session.add(row)
    session.flush()
    place(session, row, now, is_strict=False)
    _record(session, "composition_changed", f"composition {name} version {row.version} set by {by}", name)
    return row


def remove_composition(session: Session, name: str, *, by: str, now: datetime) -> None:
    """Forget a composition; devices that serve it cease to.

    Raises:
        NotFoundError: There is none.
    """
    hold(session, AdvisoryLock.COMPOSITIONS)
    row = find_composition(session, name, is_locked=True)
    session.exec(delete(CompositionAssignment).where(col(CompositionAssignment.name) == name))
    withdraw(session, name, now)
    session.delete(row)
    _record(session, "composition_removed", f"composition {name} removed by {by}", name)


def assign(session: Session, name: str, targets: Iterable[tuple[Scope, str]], *, by: str, now: datetime) -> None:
    """Have devices serve a composition: those of groups, whoever is in them at the time, and devices by themselves.

    Raises:
        NotFoundError: There is no such composition, group or device.
        ConflictError: The device was revoked, or a device would have too many.
    """
    hold(session, AdvisoryLock.COMPOSITIONS)
    row = find_composition(session, name, is_locked=True)
    has_news = False
    for scope, target in dict.fromkeys(targets):
        require_target(session, f"assigning the composition {name}", scope, target)
        if session.get(CompositionAssignment, (name, scope, target)) is not None:
            continue
        session.add(CompositionAssignment(name=name, scope=scope, target=target, assigned_by=by, assigned_at=now))
        text = f"composition {name} assigned to {target_text(scope, target)} by {by}"
        _record(session, "composition_assigned", text, name)
        has_news = True
    if has_news:
        session.flush()
        place(session, row, now, is_strict=True)


def unassign(session: Session, name: str, scope: Scope, target: str, *, by: str, now: datetime) -> None:
    """Take a composition away from a group or a device; a device that has it by another way keeps it.

    Raises:
        NotFoundError: It is not assigned there.
    """
    hold(session, AdvisoryLock.COMPOSITIONS)
    row = find_composition(session, name, is_locked=True)
    assigned = session.get(CompositionAssignment, (name, scope, target))
    if assigned is None:
        raise NotFoundError(
            f"the composition {name} is not assigned to {target_text(scope, target)}",
            f"look: shoal compositions show {name}",
        )
    session.delete(assigned)
    session.flush()
    place(session, row, now, is_strict=False)
    text = f"composition {name} taken from {target_text(scope, target)} by {by}"
    _record(session, "composition_assigned", text, name)


def drop_group_compositions(session: Session, group: str, now: datetime) -> None:
    """Take away what is assigned to a group that ends; its devices are told.

    Args:
        session: An open transaction.
        group: The group, locked.
        now: The clock.
    """
    is_its = col(CompositionAssignment.scope) == "groups", col(CompositionAssignment.target) == group
    names = session.exec(select(CompositionAssignment.name).where(*is_its)).all()
    session.exec(delete(CompositionAssignment).where(*is_its))
    for name in names:
        place(session, find_composition(session, name), now, is_strict=False)


def assignments_of(session: Session, names: Collection[str]) -> Sequence[CompositionAssignment]:
    """Return whom compositions are assigned to, by composition and target."""
    table = CompositionAssignment
    wanted = select(table).where(is_among(col(table.name), names))
    return session.exec(wanted.order_by(table.name, table.scope, table.target)).all()


def _record(session: Session, kind: str, text: str, name: str) -> None:
    record_event(session, kind, text, subject=f"compositions/{name}")
    announce(session, "compositions")
