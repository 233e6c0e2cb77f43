"""Works out which devices serve which compositions, and tells those for which that is news."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter
from sqlmodel import Session, col, func, select

from shoal_contract.compositions import MAX_COMPOSITIONS, Cascade, DesiredComposition, Ensemble
from shoal_hub.compositions.tables import CompositionAssignment, CompositionRow
from shoal_hub.database import AdvisoryLock, Database, hold, is_among
from shoal_hub.devices import placing
from shoal_hub.devices.assigned import devices_of
from shoal_hub.devices.compose import COMPOSITIONS
from shoal_hub.devices.placement_tables import Placement
from shoal_hub.errors import ConflictError

FORM: Final[TypeAdapter[Ensemble | Cascade]] = TypeAdapter(Ensemble | Cascade)


def owner_of(name: str) -> str:
    """Return whose the intents of a composition are."""
    return f"composition/{name}"


def body_of(row: CompositionRow) -> DesiredComposition:
    """Return what a device is told of a composition."""
    return DesiredComposition(version=row.version, form=FORM.validate_python(row.form))


def place(session: Session, row: CompositionRow, now: datetime, *, is_strict: bool) -> None:
    """Bring every device in line with a composition, whom it is assigned to, and who is in a group now.

    Args:
        session: An open transaction; the desired states follow when it has been committed.
        row: The composition.
        now: The clock.
        is_strict: Refuse where a device would have too many; else the composer leaves some out there, and says so.

    Raises:
        ConflictError: A device would have too many.
    """
    # Nobody else places before this transaction has ended: whoever comes second sees what the first has assigned.
    hold(session, AdvisoryLock.COMPOSITIONS)
    having = _having(session, [row], now).get(row.name, set())
    if is_strict:
        _require_room(session, row.name, having)
    body = body_of(row)
    wanted = dict.fromkeys(having, str(row.version))
    placing.place(session, owner_of(row.name), f"{COMPOSITIONS}{row.name}", wanted, lambda _: body, now)


def withdraw(session: Session, name: str, now: datetime) -> None:
    """Have no device serve a composition any more."""
    hold(session, AdvisoryLock.COMPOSITIONS)
    placing.place(session, owner_of(name), f"{COMPOSITIONS}{name}", {}, lambda _: None, now)


def follow_compositions(database: Database, now: datetime) -> None:
    """Tell devices that came into a group or left it since the last look."""
    with database.session() as session:
        news = [row.name for row in _with_news(session, now)]
    if news:
        with database.transaction() as session:
            hold(session, AdvisoryLock.COMPOSITIONS)
            for row in _with_news(session, now):
                place(session, row, now, is_strict=False)


def told_devices(session: Session, names: Collection[str]) -> dict[str, dict[str, int]]:
    """Return for each of these compositions which devices were told of it, and of which version."""
    owners = {owner_of(name): name for name in names}
    told: dict[str, dict[str, int]] = {name: {} for name in names}
    rows = select(Placement.owner, Placement.device_id, Placement.told).where(is_among(col(Placement.owner), owners))
    for owner, device_id, version in session.exec(rows):
        told[owners[owner]][device_id] = int(version)
    return told


def count_told(session: Session, names: Collection[str]) -> dict[str, int]:
    """Return for each of these compositions how many devices were told of it."""
    owners = {owner_of(name): name for name in names}
    counted = select(Placement.owner, func.count()).where(is_among(col(Placement.owner), owners))
    found = session.exec(counted.group_by(Placement.owner)).all()
    return dict.fromkeys(names, 0) | {owners[owner]: count for owner, count in found}


def _with_news(session: Session, now: datetime) -> list[CompositionRow]:
    rows = session.exec(select(CompositionRow).order_by(CompositionRow.name)).all()
    if not rows:
        return []
    having = _having(session, rows, now)
    told = told_devices(session, [row.name for row in rows])
    return [row for row in rows if told[row.name] != dict.fromkeys(having.get(row.name, ()), row.version)]


def _having(session: Session, rows: Iterable[CompositionRow], now: datetime) -> Mapping[str, set[str]]:
    of_these = is_among(col(CompositionAssignment.name), [row.name for row in rows])
    columns = select(CompositionAssignment.name, CompositionAssignment.scope, CompositionAssignment.target)
    return devices_of(session, session.exec(columns.where(of_these)).all(), now)


def _require_room(session: Session, name: str, having: Collection[str]) -> None:
    coming = set(having) - told_devices(session, [name])[name].keys()
    owners = [owner_of(one) for one in session.exec(select(CompositionRow.name))]
    theirs = is_among(col(Placement.owner), owners), is_among(col(Placement.device_id), coming)
    counted = select(Placement.device_id, func.count()).where(*theirs).group_by(Placement.device_id)
    for device_id, count in sorted(session.exec(counted)):
        if count >= MAX_COMPOSITIONS:
            raise ConflictError(
                f"assigning the composition {name} to {device_id}: it has {count}, which is the most",
                "take another one away from it: shoal compositions unassign",
            )
