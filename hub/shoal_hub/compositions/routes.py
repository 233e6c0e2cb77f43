"""Routes of compositions: create, list, look at one, change, remove; whom they are assigned to, how devices are."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, WrapValidator
from sqlmodel import Session, col, select

from shoal_contract.compositions import Cascade, Ensemble
from shoal_contract.ids import DeviceId, Name
from shoal_hub.compositions.kept import (
    assign,
    assignments_of,
    change_composition,
    create_composition,
    find_composition,
    remove_composition,
    unassign,
)
from shoal_hub.compositions.placing import FORM, count_told
from shoal_hub.compositions.status import CompositionDeviceStatus, statuses
from shoal_hub.compositions.tables import CompositionAssignment, CompositionRow
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, Reading, Viewer, Writing
from shoal_hub.devices.placement_tables import Scope
from shoal_hub.error_response import documented
from shoal_hub.requests import Line
from shoal_hub.strict_body import strictly

router = APIRouter(prefix="/compositions", tags=["compositions"])
Form = Annotated[Ensemble | Cascade, Field(discriminator="kind")]
_MAX_TARGETS = 100


class CompositionForm(BaseModel):
    """What a composition is: an ensemble of members, or a cascade of stages."""

    form: Annotated[Form, WrapValidator(strictly)]


class CompositionCreate(CompositionForm):
    """A new composition, and whom it is assigned to at once."""

    name: Name
    groups: Annotated[list[Name], Field(max_length=_MAX_TARGETS)] = []
    devices: Annotated[list[DeviceId], Field(max_length=_MAX_TARGETS)] = []


class CompositionPublic(BaseModel):
    """A composition; the same in a list and alone."""

    name: str
    version: int
    """That clients see; it rises with each other form."""
    form: Form
    models: list[str]
    """Its members, in order."""
    created_by: str
    created_at: datetime
    set_by: str
    set_at: datetime
    groups: list[str]
    """To whose devices it is assigned."""
    devices: list[str]
    """To which it is assigned by themselves."""
    device_count: int
    """Devices to which it is assigned, one way or another."""


@router.get("", responses=documented(401, 403))
def list_compositions(session: Reading, _viewer: Viewer) -> list[CompositionPublic]:
    """List compositions by name."""
    return _publics(session, session.exec(select(CompositionRow).order_by(col(CompositionRow.name))).all())


@router.post("", status_code=201, responses=documented(400, 401, 403, 404, 409, 413, 422))
def create(body: CompositionCreate, session: Writing, operator: DeviceOperator) -> CompositionPublic:
    """Compose models under a name of their own. What could not be served by the members' newest versions is refused."""
    now = utc_now()
    create_composition(session, body.name, body.form, by=operator.name, now=now)
    targets: list[tuple[Scope, str]] = [("groups", one) for one in body.groups]
    targets += [("devices", one) for one in body.devices]
    assign(session, body.name, targets, by=operator.name, now=now)
    return _public(session, find_composition(session, body.name))


@router.get("/{name}", responses=documented(401, 403, 404, 422))
def read_composition(name: Line, session: Reading, _viewer: Viewer) -> CompositionPublic:
    """Return a composition."""
    return _public(session, find_composition(session, name))


@router.put("/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def change(name: Name, body: CompositionForm, session: Writing, operator: DeviceOperator) -> CompositionPublic:
    """Give a composition another form, as its next version; its devices are told."""
    return _public(session, change_composition(session, name, body.form, by=operator.name, now=utc_now()))


@router.delete("/{name}", responses=documented(401, 403, 404, 422))
def remove(name: Line, session: Writing, operator: DeviceOperator) -> CompositionPublic:
    """Forget a composition, which its devices cease to serve; return what it was."""
    shown = _public(session, find_composition(session, name))
    remove_composition(session, name, by=operator.name, now=utc_now())
    return shown


@router.put("/{name}/groups/{group}", responses=documented(401, 403, 404, 409, 422))
def assign_to_group(name: Line, group: Name, session: Writing, operator: DeviceOperator) -> CompositionPublic:
    """Have the devices of a group serve a composition, whoever is in it at the time."""
    return _assign(session, name, "groups", group, operator.name)


@router.delete("/{name}/groups/{group}", responses=documented(401, 403, 404, 422))
def unassign_from_group(name: Line, group: Line, session: Writing, operator: DeviceOperator) -> CompositionPublic:
    """Take a composition away from a group."""
    return _unassign(session, name, "groups", group, operator.name)


@router.put("/{name}/devices/{device_id}", responses=documented(401, 403, 404, 409, 422))
def assign_to_device(name: Line, device_id: DeviceId, session: Writing, operator: DeviceOperator) -> CompositionPublic:
    """Have a device serve a composition."""
    return _assign(session, name, "devices", device_id, operator.name)


@router.delete("/{name}/devices/{device_id}", responses=documented(401, 403, 404, 422))
def unassign_from_device(name: Line, device_id: Line, session: Writing, operator: DeviceOperator) -> CompositionPublic:
    """Take a composition away from a device; by way of a group it may have it still."""
    return _unassign(session, name, "devices", device_id, operator.name)


@router.get("/{name}/devices", responses=documented(401, 403, 404, 422))
def list_composition_devices(
    name: Line,
    session: Reading,
    _viewer: Viewer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> list[CompositionDeviceStatus]:
    """List the devices of a composition by name, and what each says of it."""
    find_composition(session, name)
    return statuses(session, name, limit=limit, offset=offset)


def _assign(session: Session, name: str, scope: Scope, target: str, by: str) -> CompositionPublic:
    assign(session, name, [(scope, target)], by=by, now=utc_now())
    return _public(session, find_composition(session, name))


def _unassign(session: Session, name: str, scope: Scope, target: str, by: str) -> CompositionPublic:
    unassign(session, name, scope, target, by=by, now=utc_now())
    return _public(session, find_composition(session, name))


def _public(session: Session, row: CompositionRow) -> CompositionPublic:
    return _publics(session, [row])[0]


def _publics(session: Session, rows: Sequence[CompositionRow]) -> list[CompositionPublic]:
    session.flush()
    names = [row.name for row in rows]
    counts = count_told(session, names)
    assigned: dict[str, list[CompositionAssignment]] = {name: [] for name in names}
    for one in assignments_of(session, names):
        assigned[one.name].append(one)
    return [_shown(row, assigned[row.name], counts[row.name]) for row in rows]


def _shown(row: CompositionRow, assigned: Sequence[CompositionAssignment], device_count: int) -> CompositionPublic:
    form = FORM.validate_python(row.form)
    parts = form.members if isinstance(form, Ensemble) else form.stages
    return CompositionPublic(
        name=row.name,
        version=row.version,
        form=form,
        models=[part.model for part in parts],
        created_by=row.created_by,
        created_at=row.created_at,
        set_by=row.set_by,
        set_at=row.set_at,
        groups=[one.target for one in assigned if one.scope == "groups"],
        devices=[one.target for one in assigned if one.scope == "devices"],
        device_count=device_count,
    )
