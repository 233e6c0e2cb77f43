"""Routes of groups: list, make, look at one, change and end. Their members: `GET /devices?group=NAME`."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlmodel import Session, select

from shoal_contract.ids import DeviceId, Name
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, Reading, Viewer, Writing
from shoal_hub.devices.group_changes import (
    MAX_LISTED_DEVICES,
    GroupChange,
    change_group,
    create_group,
    delete_group,
)
from shoal_hub.devices.group_tables import DeviceGroup, GroupKind
from shoal_hub.devices.groups import count_members, find_group, listed_devices
from shoal_hub.devices.listing import QueryText
from shoal_hub.error_response import documented
from shoal_hub.requests import Line

router = APIRouter(prefix="/groups", tags=["groups"])
DeviceIds = Annotated[list[DeviceId], Field(max_length=MAX_LISTED_DEVICES)]


class GroupCreate(BaseModel):
    """A new group: dynamic with a query, static without."""

    name: Name
    query: QueryText | None = None
    devices: DeviceIds = []
    """What a static group lists, besides the devices whose home it is."""
    description: Line = ""


class GroupUpdate(BaseModel):
    """What becomes different; what is left out stays."""

    query: QueryText | None = None
    description: Line | None = None
    add: DeviceIds = []
    remove: DeviceIds = []


class GroupSummary(BaseModel):
    """A group in a list."""

    name: str
    kind: GroupKind
    query: str | None
    description: str
    created_by: str
    created_at: datetime


class GroupDetail(GroupSummary):
    """A group, how many unrevoked devices are in it now, and those that it lists."""

    members: int
    devices: list[str]


@router.get("", responses=documented(401, 403))
def list_groups(session: Reading, _viewer: Viewer) -> list[GroupSummary]:
    """List groups by name."""
    rows = session.exec(select(DeviceGroup).order_by(DeviceGroup.name))
    return [GroupSummary.model_validate(row, from_attributes=True) for row in rows]


@router.post("", status_code=201, responses=documented(400, 401, 403, 404, 409, 413, 422))
def add_group(body: GroupCreate, session: Writing, operator: DeviceOperator) -> GroupDetail:
    """Make a group of devices, or of a query whose matches are its members at each moment."""
    now = utc_now()
    change = GroupChange(query=body.query, description=body.description, add=body.devices)
    return _detail(session, create_group(session, body.name, change, by=operator.name, now=now), now)


@router.get("/{name}", responses=documented(401, 403, 404, 422))
def read_group(name: Line, session: Reading, _viewer: Viewer) -> GroupDetail:
    """Return one group with the count of its members."""
    return _detail(session, find_group(session, name), utc_now())


@router.patch("/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def update_group(name: Line, body: GroupUpdate, session: Writing, operator: DeviceOperator) -> GroupDetail:
    """Change a dynamic group's query, what a static one lists, or a description."""
    change = GroupChange(query=body.query, description=body.description, add=body.add, remove=body.remove)
    return _detail(session, change_group(session, name, change, by=operator.name), utc_now())


@router.delete("/{name}", responses=documented(401, 403, 404, 409, 422))
def end_group(name: Line, session: Writing, operator: DeviceOperator) -> GroupDetail:
    """End a group that is nobody's home; its devices stay."""
    now = utc_now()
    shown = _detail(session, find_group(session, name), now)
    delete_group(session, name, by=operator.name, now=now)
    return shown


def _detail(session: Session, group: DeviceGroup, now: datetime) -> GroupDetail:
    summary = GroupSummary.model_validate(group, from_attributes=True)
    session.flush()
    return GroupDetail(
        **summary.model_dump(),
        members=count_members(session, group, now),
        devices=listed_devices(session, group.name),
    )
