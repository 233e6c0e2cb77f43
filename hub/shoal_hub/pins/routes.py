"""Routes of pins: list, set and take away."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel

from shoal_contract.ids import Name
from shoal_hub.approvals.policy import require_none_needed
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, RolloutOperator, Viewer, Writing
from shoal_hub.devices.compose import MODELS
from shoal_hub.devices.tables import Intent
from shoal_hub.error_response import documented
from shoal_hub.pins.pin import pin, pins, unpin
from shoal_hub.requests import Line

router = APIRouter(tags=["devices"])


class PinRequest(BaseModel):
    """The version that a device is to stay on."""

    version: Line
    """Number, `latest`, stage or alias."""
    until: AwareDatetime | None = None
    """When the pin ends by itself; left out, not before it is taken away."""


class PinPublic(BaseModel):
    """A device that stays on one version of a model."""

    device_id: str
    model: str
    version: int
    target: str
    pinned_at: datetime
    until: datetime | None


@router.get("/pins", responses=documented(401, 403, 422))
def list_pins(session: Reading, _viewer: Viewer, model: Line = "") -> list[PinPublic]:
    """List pins by model and device."""
    return [_public(one) for one in pins(session, model)]


@router.put("/devices/{device_id}/pins/{model}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def pin_device(
    device_id: Line, model: Name, body: PinRequest, hub: Hub, session: Writing, operator: RolloutOperator
) -> PinPublic:
    """Have a device stay on one version of a model, whatever rollouts want."""
    now = utc_now()
    require_none_needed(session, model, "rollout")  # no way around what a rollout needs
    return _public(pin(session, hub, device_id, model, body.version, by=operator.name, now=now, until=body.until))


@router.delete("/devices/{device_id}/pins/{model}", responses=documented(401, 403, 404, 422))
def unpin_device(device_id: Line, model: Name, session: Writing, operator: RolloutOperator) -> PinPublic:
    """Let a device go, and return what it was pinned to: what rollouts want of it holds again."""
    return _public(unpin(session, device_id, model, by=operator.name))


def _public(row: Intent) -> PinPublic:
    return PinPublic(
        device_id=row.device_id,
        model=row.section.removeprefix(MODELS),
        version=row.body["version"],
        target=row.body["target"],
        pinned_at=row.created_at,
        until=row.until,
    )
