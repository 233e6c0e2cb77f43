"""Routes of channels and of the outbox. Where a channel leads is said by an admin, and its secrets by nobody again."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel import col, select

from shoal_contract.ids import Name
from shoal_hub.alerts.channels import ChannelChange, find_channel, list_channels, put_channel, remove_channel
from shoal_hub.alerts.notify import notify
from shoal_hub.alerts.public import ChannelAsk, ChannelPublic, DeliveryPublic
from shoal_hub.alerts.tables import AlertChannel, AlertDelivery, DeliveryState
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Admin, Hub, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.ids import new_id
from shoal_hub.requests import Line

router = APIRouter(prefix="/alerts", tags=["alerts"])


@router.get("/channels", responses=documented(401, 403))
def list_alert_channels(session: Reading, _viewer: Viewer) -> list[ChannelPublic]:
    """List channels by name, without what is secret of them."""
    return [_channel(row) for row in list_channels(session)]


@router.put("/channels/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def set_channel(name: Name, body: ChannelAsk, hub: Hub, session: Writing, admin: Admin) -> ChannelPublic:
    """Make a channel, or change it. What is secret of its target is shown to nobody again."""
    change = ChannelChange(body.target, body.least_severity, body.is_enabled)
    return _channel(put_channel(session, hub.version_keys, name, change, by=admin.name, now=utc_now()))


@router.delete("/channels/{name}", responses=documented(401, 403, 404, 409, 422))
def delete_channel(name: Line, session: Writing, _admin: Admin) -> ChannelPublic:
    """Forget a channel with its secrets; what waits to be sent by it is not sent."""
    return _channel(remove_channel(session, name))


@router.post("/channels/{name}/test", status_code=202, responses=documented(401, 403, 404, 409, 422))
def test_channel(name: Line, session: Writing, admin: Admin) -> DeliveryPublic:
    """Have a message sent by a channel, as alerts are; its delivery tells how that went."""
    row = find_channel(session, name)
    if not row.is_enabled:
        raise ConflictError(f"the alert channel {name} is switched off", "switch it on: shoal alerts channels add")
    test = new_id("test")
    [delivery] = notify(
        session,
        key=test,
        subject=f"test/{test}",
        title="[test] Shoal can reach you",
        text=f"{admin.name} has tried the alert channel {name}.",
        severity="critical",
        channels=[name],
    )
    return _delivery(session.get_one(AlertDelivery, delivery))


@router.get("/deliveries", responses=documented(401, 403, 422))
def list_deliveries(
    session: Reading,
    _viewer: Viewer,
    state: DeliveryState | None = None,
    channel: Line | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> list[DeliveryPublic]:
    """List what was to be told, the latest first."""
    wanted = select(AlertDelivery).order_by(col(AlertDelivery.created_at).desc(), col(AlertDelivery.id))
    if state is not None:
        wanted = wanted.where(AlertDelivery.state == state)
    if channel is not None:
        wanted = wanted.where(AlertDelivery.channel == channel)
    return [_delivery(row) for row in session.exec(wanted.limit(limit).offset(offset))]


@router.get("/deliveries/{delivery_id}", responses=documented(401, 403, 404, 422))
def read_delivery(delivery_id: Line, session: Reading, _viewer: Viewer) -> DeliveryPublic:
    """Return how far one message is."""
    row = session.get(AlertDelivery, delivery_id)
    if row is None:
        raise NotFoundError(f"there is no alert delivery {delivery_id}", "list them: shoal alerts deliveries")
    return _delivery(row)


def _channel(row: AlertChannel) -> ChannelPublic:
    return ChannelPublic.model_validate(row, from_attributes=True)


def _delivery(row: AlertDelivery) -> DeliveryPublic:
    return DeliveryPublic.model_validate(row, from_attributes=True)
