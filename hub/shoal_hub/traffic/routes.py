"""Routes of the byte ledger and of limits: what devices have taken, and what they may take."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlmodel import col, select

from shoal_contract.ids import DeviceId, Name
from shoal_contract.ledger import Month, month_of
from shoal_contract.limits import MAX_INTEGER
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.requests import GroupName, Line
from shoal_hub.traffic.ledger import DeviceMonth, csv_lines, ledger_of
from shoal_hub.traffic.limits import Limits, set_limits
from shoal_hub.traffic.tables import LimitScope, TransferLimit

router = APIRouter(tags=["traffic"])

_ALL = 1_000_000
_Bound = Annotated[int, Field(ge=1, le=MAX_INTEGER)]


class LimitUpdate(BaseModel):
    """What a scope may take: all of it, as what is left out bounds nothing, or leaves it to the wider scope."""

    max_fetch_bytes_per_s: _Bound | None = None
    max_bytes_per_month: _Bound | None = None

    def limits(self) -> Limits:
        """Return it as the verb takes it."""
        return Limits(self.max_fetch_bytes_per_s, self.max_bytes_per_month)


class LimitPublic(LimitUpdate):
    """The limits of the fleet, a group or a device."""

    scope: LimitScope
    name: str
    set_by: str
    set_at: datetime


@router.get("/ledger", responses=documented(401, 403, 404, 422))
def read_ledger(
    session: Reading,
    _viewer: Viewer,
    month: Month | None = None,
    device: Line | None = None,
    group: GroupName | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> list[DeviceMonth]:
    """Return what devices have received and sent in a month of UTC, this one where none is given, by name."""
    now = utc_now()
    when = month or month_of(now)
    return ledger_of(session, when, now, device_id=device, group=group, limit=limit, offset=offset)


@router.get("/ledger/export", response_class=StreamingResponse, responses=documented(401, 403, 404, 422))
def export_ledger(
    session: Reading, _viewer: Viewer, month: Month | None = None, group: GroupName | None = None
) -> StreamingResponse:
    """Return a month's ledger as CSV."""
    now = utc_now()
    when = month or month_of(now)
    lines = csv_lines(ledger_of(session, when, now, group=group, limit=_ALL))
    headers = {"content-disposition": f'attachment; filename="ledger-{when}.csv"', "cache-control": "no-store"}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/limits", responses=documented(401, 403))
def list_limits(session: Reading, _viewer: Viewer) -> list[LimitPublic]:
    """List all limits; of a device's, its group's and the fleet's, the narrowest counts, value by value."""
    wanted = select(TransferLimit).order_by(col(TransferLimit.scope), col(TransferLimit.name))
    return [_public(row) for row in session.exec(wanted).all()]


@router.put("/limits/fleet", responses=documented(400, 401, 403, 413, 422))
def limit_fleet(body: LimitUpdate, session: Writing, operator: DeviceOperator) -> LimitPublic:
    """Set what each device may take for which nothing narrower is set."""
    return _public(set_limits(session, "fleet", "", body.limits(), by=operator.name, now=utc_now()))


@router.put("/limits/groups/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def limit_group(name: Name, body: LimitUpdate, session: Writing, operator: DeviceOperator) -> LimitPublic:
    """Set what each device of a static group may take; of several groups of a device the tightest value counts."""
    return _public(set_limits(session, "groups", name, body.limits(), by=operator.name, now=utc_now()))


@router.put("/limits/devices/{device_id}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def limit_device(device_id: DeviceId, body: LimitUpdate, session: Writing, operator: DeviceOperator) -> LimitPublic:
    """Set what one device may take."""
    return _public(set_limits(session, "devices", device_id, body.limits(), by=operator.name, now=utc_now()))


def _public(row: TransferLimit) -> LimitPublic:
    return LimitPublic.model_validate(row, from_attributes=True)
