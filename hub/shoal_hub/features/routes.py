"""Routes of feature sets: list, set, look at one, remove; whom they are assigned to, and how their devices are."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, WrapValidator
from sqlmodel import Session

from shoal_contract.features import DesiredFeatures
from shoal_contract.ids import DeviceId, Name
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, Reading, Viewer, Writing
from shoal_hub.devices.placement_tables import Scope
from shoal_hub.error_response import documented
from shoal_hub.features.assign import assign, unassign
from shoal_hub.features.sets import (
    assignments_of,
    current_versions,
    find_set,
    find_version,
    put_set,
    remove_set,
    versions_of,
)
from shoal_hub.features.status import FeatureDeviceStatus, count_devices, statuses
from shoal_hub.features.tables import FeatureAssignment, FeatureSetVersion
from shoal_hub.requests import Line, RowNumber
from shoal_hub.strict_body import strictly

router = APIRouter(prefix="/features", tags=["features"])
Body = Annotated[DesiredFeatures, WrapValidator(strictly)]


class FeatureVersionPublic(BaseModel):
    """A version of a set."""

    number: int
    set_by: str
    set_at: datetime


class FeatureSetSummary(BaseModel):
    """A set in a list."""

    name: str
    version: int
    set_by: str
    set_at: datetime
    pipelines: list[str]
    groups: list[str]
    """To whose devices it is assigned."""
    devices: list[str]
    """To which it is assigned by themselves."""


class FeatureSetDetail(FeatureSetSummary):
    """One version of a set, and the other versions that are kept."""

    number: int
    """The version that is shown."""
    body: DesiredFeatures
    versions: list[FeatureVersionPublic]
    """The newest first."""
    device_count: int
    """Devices to which it is assigned, one way or another."""


@router.get("", responses=documented(401, 403))
def list_features(session: Reading, _viewer: Viewer) -> list[FeatureSetSummary]:
    """List sets by name."""
    newest = current_versions(session)
    assigned: dict[str, list[FeatureAssignment]] = {one.name: [] for one in newest}
    for one in assignments_of(session, assigned):
        assigned[one.name].append(one)
    return [_summary(one, assigned[one.name]) for one in newest]


@router.put("/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def set_features(name: Name, body: Body, session: Writing, operator: DeviceOperator) -> FeatureSetDetail:
    """Make a set, or give it a new version; its devices are told. What no device could compute is refused."""
    put_set(session, name, body, by=operator.name, now=utc_now())
    return _detail(session, name)


@router.get("/{name}", responses=documented(401, 403, 404, 422))
def read_features(name: Line, session: Reading, _viewer: Viewer, version: RowNumber | None = None) -> FeatureSetDetail:
    """Return a set, in its newest or another version."""
    return _detail(session, name, version)


@router.delete("/{name}", responses=documented(401, 403, 404, 409, 422))
def remove_features(name: Line, session: Writing, operator: DeviceOperator) -> FeatureSetDetail:
    """Forget a set that is assigned to nobody, with its versions; return what it was."""
    shown = _detail(session, name)
    remove_set(session, name, by=operator.name)
    return shown


@router.put("/{name}/groups/{group}", responses=documented(401, 403, 404, 409, 422))
def assign_to_group(name: Line, group: Name, session: Writing, operator: DeviceOperator) -> FeatureSetDetail:
    """Have the devices of a group compute a set, whoever is in it at the time."""
    return _assign(session, name, "groups", group, operator.name)


@router.delete("/{name}/groups/{group}", responses=documented(401, 403, 404, 422))
def unassign_from_group(name: Line, group: Line, session: Writing, operator: DeviceOperator) -> FeatureSetDetail:
    """Take a set away from a group."""
    return _unassign(session, name, "groups", group, operator.name)


@router.put("/{name}/devices/{device_id}", responses=documented(401, 403, 404, 409, 422))
def assign_to_device(name: Line, device_id: DeviceId, session: Writing, operator: DeviceOperator) -> FeatureSetDetail:
    """Have a device compute a set."""
    return _assign(session, name, "devices", device_id, operator.name)


@router.delete("/{name}/devices/{device_id}", responses=documented(401, 403, 404, 422))
def unassign_from_device(name: Line, device_id: Line, session: Writing, operator: DeviceOperator) -> FeatureSetDetail:
    """Take a set away from a device; by way of a group it may have it still."""
    return _unassign(session, name, "devices", device_id, operator.name)


@router.get("/{name}/devices", responses=documented(401, 403, 404, 422))
def list_feature_devices(
    name: Line,
    session: Reading,
    _viewer: Viewer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> list[FeatureDeviceStatus]:
    """List the devices of a set by name, and what each says of its pipelines."""
    find_set(session, name)
    return statuses(session, name, limit=limit, offset=offset)


def _assign(session: Session, name: str, scope: Scope, target: str, by: str) -> FeatureSetDetail:
    assign(session, name, scope, target, by=by, now=utc_now())
    return _detail(session, name)


def _unassign(session: Session, name: str, scope: Scope, target: str, by: str) -> FeatureSetDetail:
    unassign(session, name, scope, target, by=by, now=utc_now())
    return _detail(session, name)


def _detail(session: Session, name: str, number: int | None = None) -> FeatureSetDetail:
    session.flush()
    found, shown = find_set(session, name), find_version(session, name, number)
    return FeatureSetDetail(
        **_summary(find_version(session, name, found.version), assignments_of(session, [name])).model_dump(),
        number=shown.number,
        body=DesiredFeatures.model_validate(shown.body),
        versions=[_version(one) for one in versions_of(session, name)],
        device_count=count_devices(session, name),
    )


def _summary(newest: FeatureSetVersion, assigned: Sequence[FeatureAssignment]) -> FeatureSetSummary:
    return FeatureSetSummary(
        name=newest.name,
        version=newest.number,
        set_by=newest.set_by,
        set_at=newest.set_at,
        pipelines=sorted(newest.body["pipelines"]),
        groups=[one.target for one in assigned if one.scope == "groups"],
        devices=[one.target for one in assigned if one.scope == "devices"],
    )


def _version(row: FeatureSetVersion) -> FeatureVersionPublic:
    return FeatureVersionPublic(number=row.number, set_by=row.set_by, set_at=row.set_at)
