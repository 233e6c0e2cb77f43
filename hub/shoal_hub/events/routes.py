"""Routes of events: the list, and the live stream that tells a reader to look again."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlmodel import col, select

from shoal_hub.context import HubContext
from shoal_hub.dependencies import Hub, Reading, Viewer
from shoal_hub.error_response import documented
from shoal_hub.events.tables import EventRow, Severity
from shoal_hub.events.watch import watch
from shoal_hub.operators.roles import Principal
from shoal_hub.requests import Line

router = APIRouter(prefix="/events", tags=["events"])


class EventPublic(BaseModel):
    """One event."""

    id: int
    at: datetime
    received_at: datetime
    device_id: str | None
    kind: str
    subject: str
    severity: Severity
    message: str
    body: dict[str, Any]


@router.get("", responses=documented(401, 403, 422))
def list_events(
    session: Reading,
    _viewer: Viewer,
    device: Line | None = None,
    subject: Line | None = None,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[EventPublic]:
    """List events in the order in which they came: the first after `after`, or without it the last `limit`."""
    wanted = select(EventRow)
    if device is not None:
        wanted = wanted.where(EventRow.device_id == device)
    if subject is not None:
        wanted = wanted.where(EventRow.subject == subject)
    if after is not None:
        rows = list(session.exec(wanted.where(col(EventRow.id) > after).order_by(col(EventRow.id)).limit(limit)))
    else:
        rows = list(session.exec(wanted.order_by(col(EventRow.id).desc()).limit(limit)))[::-1]
    return [EventPublic.model_validate(row, from_attributes=True) for row in rows]


@router.get("/stream", response_class=StreamingResponse, responses=documented(401, 403))
async def stream_changes(hub: Hub, viewer: Viewer) -> StreamingResponse:
    """Server-sent events: `changed` with `{"what": [...]}` whenever something that the API shows has changed."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_changes(hub, viewer), media_type="text/event-stream", headers=headers)


async def _changes(hub: HubContext, viewer: Principal) -> AsyncIterator[str]:
    yield "event: open\ndata: {}\n\n"
    async for what in watch(hub, viewer):
        yield f"event: changed\ndata: {json.dumps({'what': sorted(what)})}\n\n" if what else ": still here\n\n"
