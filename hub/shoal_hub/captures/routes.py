"""Routes of captured samples: what is asked of devices, and what has come: list, look at one, fetch, delete."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field
from sqlmodel import select

from shoal_contract.captures import CaptureReason
from shoal_contract.ids import Name
from shoal_hub.captures.asking import Asked, ask_for, cease_to_ask
from shoal_hub.captures.kept import BATCH, Which, delete_captures, find_capture, find_captures, read_sample
from shoal_hub.captures.tables import CaptureRequest
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, Hub, Reading, Viewer, Writing, audited, need
from shoal_hub.error_response import documented
from shoal_hub.operators.roles import Principal, Role, Scope
from shoal_hub.requests import GroupName, Line, RowNumber

router = APIRouter(tags=["captures"])
SampleReader = Annotated[Principal, Depends(need(Role.OPERATOR, Scope.READ))]
"""What a camera has seen is not for everybody who may look at the fleet."""


class CaptureAsk(BaseModel):
    """Which samples devices are to send, of those that they keep by their owners' rules."""

    group: GroupName | None = None
    """Whose devices; left out, all of the fleet."""
    reasons: Annotated[list[CaptureReason], Field(max_length=5)] = []
    """Samples that one of these has picked; none: all that are kept."""
    max_samples_per_day: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Of each device, in a day of UTC."""
    max_bytes_per_day: Annotated[int, Field(ge=1, le=10_000_000_000)] = 10_000_000
    after_s: Annotated[float, Field(ge=0, le=30 * 86_400)] = 3600.0
    """How old a sample is before it is sent: its true label has so long to come back."""


class CaptureAskPublic(CaptureAsk):
    """What is asked of devices for one model."""

    model: str
    set_by: str
    set_at: datetime


class CapturePublic(BaseModel):
    """A sample that has come, and what is known of it."""

    id: str
    device_id: str
    model: str
    version: int
    request_id: str
    sample: int
    """Its place in the request."""
    at: datetime
    reasons: list[CaptureReason]
    label: int | None
    """That the version chose."""
    confidence: float | None
    true_label: int | None
    """That came back as feedback, if it did before the sample was sent."""
    sha256: str
    size_bytes: int
    received_at: datetime


@router.get("/capture-requests", responses=documented(401, 403))
def list_capture_requests(session: Reading, _viewer: Viewer) -> list[CaptureAskPublic]:
    """List what is asked of devices, by model."""
    rows = session.exec(select(CaptureRequest).order_by(CaptureRequest.model))
    return [CaptureAskPublic.model_validate(row, from_attributes=True) for row in rows]


@router.put("/capture-requests/{model}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def request_captures(model: Name, body: CaptureAsk, session: Writing, operator: DeviceOperator) -> CaptureAskPublic:
    """Ask devices for samples of a model; one whose owner lets none out says so in its report."""
    asked = Asked(
        body.group or None, tuple(body.reasons), body.max_samples_per_day, body.max_bytes_per_day, body.after_s
    )
    row = ask_for(session, model, asked, by=operator.name, now=utc_now())
    return CaptureAskPublic.model_validate(row, from_attributes=True)


@router.delete("/capture-requests/{model}", responses=documented(401, 403, 404, 422))
def end_capture_request(model: Line, session: Writing, operator: DeviceOperator) -> CaptureAskPublic:
    """Cease to ask for samples of a model; those that have come stay."""
    row = cease_to_ask(session, model, by=operator.name, now=utc_now())
    return CaptureAskPublic.model_validate(row, from_attributes=True)


@router.get("/captures", responses=documented(401, 403, 422))
def list_captures(
    session: Reading,
    _viewer: Viewer,
    model: Line = "",
    version: RowNumber | None = None,
    device: Line = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> list[CapturePublic]:
    """List samples that have come, the newest first, without their contents."""
    which = Which(model, version, device)
    return [_public(row) for row in find_captures(session, which, limit=limit, offset=offset)]


@router.get("/captures/{capture_id}", responses=documented(401, 403, 404, 422))
def read_capture(capture_id: Line, session: Reading, _viewer: Viewer) -> CapturePublic:
    """Return what is known of one sample."""
    return _public(find_capture(session, capture_id))


@router.get("/captures/{capture_id}/content", responses=documented(401, 403, 404, 422), response_class=Response)
def fetch_capture(capture_id: Line, hub: Hub, _operator: SampleReader) -> Response:
    """Return a sample as `.npz`, an array for each input of its model. Who has looked at it is audited."""
    with audited(hub) as session:
        row = find_capture(session, capture_id)
    return Response(read_sample(hub.artifacts, row), media_type="application/octet-stream")


@router.delete("/captures/{capture_id}", responses=documented(401, 403, 404, 422))
def delete_capture(capture_id: Line, hub: Hub, session: Writing, _operator: DeviceOperator) -> CapturePublic:
    """Delete a sample at the hub; the device keeps its own as long as its owner wants."""
    row = find_capture(session, capture_id)
    shown = _public(row)
    delete_captures(session, hub.artifacts, [row])
    return shown


@router.delete("/captures", responses=documented(401, 403, 422))
def delete_many_captures(
    hub: Hub,
    session: Writing,
    _operator: DeviceOperator,
    model: Name,
    version: RowNumber | None = None,
    device: Line = "",
) -> list[CapturePublic]:
    """Delete samples of a model, the newest 200 of them, and return them; none are returned once all are gone."""
    rows = find_captures(session, Which(model, version, device), limit=BATCH)
    shown = [_public(row) for row in rows]
    delete_captures(session, hub.artifacts, rows)
    return shown


def _public(row: object) -> CapturePublic:
    return CapturePublic.model_validate(row, from_attributes=True)
