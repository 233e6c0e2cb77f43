"""Routes of devices: list, look at one, rename and tag, revoke and decommission."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from shoal_contract.desired import DesiredConfig
from shoal_contract.ids import Name
from shoal_hub.database import announce, utc_now
from shoal_hub.dependencies import DeviceOperator, Reading, Viewer, Writing
from shoal_hub.devices.compose import CONFIG
from shoal_hub.devices.groups import make_home
from shoal_hub.devices.intents import set_intent
from shoal_hub.devices.listing import QueryText, Selection, list_devices_of
from shoal_hub.devices.public import DeviceDetail, DeviceSummary, detail, summarise
from shoal_hub.devices.revocation import ENROL_AGAIN, decommission, revoke
from shoal_hub.devices.tables import Device
from shoal_hub.error_response import documented
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.requests import GroupName, Line

OPERATOR = "operator"
"""Owner of the intents that a person states directly."""
router = APIRouter(prefix="/devices", tags=["devices"])


class DeviceUpdate(BaseModel):
    """What an operator may change; what is left out stays."""

    name: Annotated[Line, Field(max_length=64)] | None = None
    group: GroupName | None = None
    tags: Annotated[dict[Name, Line], Field(max_length=64)] | None = None


class Farewell(BaseModel):
    """Why a device is revoked, for those who read the list later."""

    reason: Line = ""


@router.get("", responses=documented(401, 403, 404, 422))
def list_devices(
    session: Reading,
    _viewer: Viewer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    group: GroupName | None = None,
    query: QueryText | None = None,
    decommissioned: bool = False,
) -> list[DeviceSummary]:
    """List devices by name: all, or those that are in a group (empty: at home in none), match a query, or both.

    Revoked ones are among them, decommissioned ones only where they are asked for; but a query, and so a dynamic group,
    finds no revoked one.
    """
    which = Selection(group=group, query=query, has_decommissioned=decommissioned)
    return [summarise(row) for row in list_devices_of(session, which, utc_now(), limit=limit, offset=offset)]


@router.get("/{device_id}", responses=documented(401, 403, 404, 422))
def read_device(device_id: Line, session: Reading, _viewer: Viewer) -> DeviceDetail:
    """Return one device with its reported state, its desired state and the intents that lost."""
    return detail(session, _device(session, device_id))


@router.patch("/{device_id}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def update_device(device_id: Line, body: DeviceUpdate, session: Writing, operator: DeviceOperator) -> DeviceDetail:
    """Rename or tag a device, or make another group its home."""
    device = _device(session, device_id)
    if body.name is not None:
        device.name = body.name
    if body.group is not None:
        make_home(session, body.group, by=operator.name)
        device.group = body.group
    if body.tags is not None:
        device.tags = body.tags
    session.add(device)
    announce(session, "devices")
    return detail(session, device)


@router.put("/{device_id}/config", responses=documented(400, 401, 403, 404, 409, 413, 422))
def configure_device(device_id: Line, body: DesiredConfig, session: Writing, operator: DeviceOperator) -> DeviceDetail:
    """Set how a device's agent behaves; what is left out gets its default."""
    device = _device(session, device_id)
    if device.revoked_at is not None:
        raise ConflictError(f"configuring device {device.id}: it was revoked, and can be told nothing", ENROL_AGAIN)
    set_intent(session, device.id, CONFIG, kind="default", owner=OPERATOR, body=body, now=utc_now())
    record_event(session, "device_configured", f"{device.id} configured by {operator.name}", device_id=device.id)
    announce(session, "devices")
    return detail(session, device)


@router.post("/{device_id}/revoke", responses=documented(400, 401, 403, 404, 413, 422))
def revoke_device(device_id: Line, body: Farewell, session: Writing, operator: DeviceOperator) -> DeviceDetail:
    """Revoke a device: within seconds its connection ends, and it gets in no more. Asked again, it changes nothing."""
    device = _device(session, device_id)
    revoke(session, device, by=operator.name, reason=body.reason, now=utc_now())
    return detail(session, device)


@router.post("/{device_id}/decommission", responses=documented(400, 401, 403, 404, 413, 422))
def decommission_device(device_id: Line, body: Farewell, session: Writing, operator: DeviceOperator) -> DeviceDetail:
    """Revoke a device for good and clear what hub and broker keep of it; a row with its name and dates stays."""
    device = _device(session, device_id)
    decommission(session, device, by=operator.name, reason=body.reason, now=utc_now())
    return detail(session, device)


def _device(session: Reading, device_id: str) -> Device:
    device = session.get(Device, device_id)
    if device is None:
        raise NotFoundError(f"no device {device_id}", "list them: shoal devices list")
    return device
