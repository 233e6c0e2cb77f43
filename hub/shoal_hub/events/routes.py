"""Routes of events: the list, and the live stream that tells a reader to look again."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final

import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlmodel import col, func, select

from shoal_hub.context import HubContext
from shoal_hub.dependencies import Hub, Operator, Reading
from shoal_hub.error_response import documented
from shoal_hub.events.tables import EventRow, Severity
from shoal_hub.requests import Line

router = APIRouter(prefix="/events", tags=["events"])

LOOK_S: Final = 2.0
"""A wake may be lost: this often the stream looks for new events in the database by itself."""
KEEP_ALIVE_LOOKS: Final = 7


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


@router.get("", responses=documented(401, 422))
def list_events(
    session: Reading,
    _operator: Operator,
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


@router.get("/stream", response_class=StreamingResponse, responses=documented(401))
async def stream_changes(hub: Hub, _operator: Operator) -> StreamingResponse:
    """Server-sent events: `changed` with `{"what": [...]}` whenever something that the API shows has changed."""
    return change_stream(hub)


def change_stream(hub: HubContext) -> StreamingResponse:
    """Return the stream of changes as a response."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_changes(hub), media_type="text/event-stream", headers=headers)


async def _changes(hub: HubContext) -> AsyncIterator[str]:
    async with hub.changes.subscribe() as subscription:
        latest, quiet_looks = await _latest_event(hub), 0
        yield "event: open\ndata: {}\n\n"
        while True:
            what = set(await subscription.take(LOOK_S))
            newest = await _latest_event(hub)
            if newest != latest:
                what.add("events")
            latest = newest
            quiet_looks = 0 if what else quiet_looks + 1
            if what:
                yield f"event: changed\ndata: {json.dumps({'what': sorted(what)})}\n\n"
                await asyncio.sleep(0.1)  # a burst of commits becomes one message
            elif quiet_looks % KEEP_ALIVE_LOOKS == 0:
                yield ": still here\n\n"


async def _latest_event(hub: HubContext) -> int:
    def look() -> int:
        with hub.database.session() as session:
            return session.exec(select(func.max(EventRow.id))).one() or 0

    return await anyio.to_thread.run_sync(look)
