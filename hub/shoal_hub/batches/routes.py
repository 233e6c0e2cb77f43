"""Routes of batch jobs: hand out, list, look at one, fetch the answers of a device, cancel."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field
from sqlmodel import Session, col, func, select

from shoal_contract.batch_jobs import DesiredBatch
from shoal_contract.ids import DeviceId, Name
from shoal_contract.reported import Problem
from shoal_hub.batches.hand_out import Chosen, cancel, find_batch, hand_out
from shoal_hub.batches.tables import Batch, BatchDevice, Outcome
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, Hub, Reading, Viewer, Writing, audited, need
from shoal_hub.devices.compose import BATCHES
from shoal_hub.devices.public import reported_state
from shoal_hub.devices.tables import Device
from shoal_hub.error_response import documented
from shoal_hub.errors import NotFoundError
from shoal_hub.operators.roles import Principal, Role, Scope
from shoal_hub.requests import Line

router = APIRouter(prefix="/batches", tags=["batches"])
AnswerReader = Annotated[Principal, Depends(need(Role.OPERATOR, Scope.READ))]
"""What devices have answered, and columns of their files, are not for everybody who may look at the fleet."""


class BatchCreate(BaseModel):
    """A new job, and who does it: the devices that are in groups now, and others by themselves."""

    name: Name
    body: DesiredBatch
    groups: Annotated[list[Name], Field(max_length=64)] = []
    devices: Annotated[list[DeviceId], Field(max_length=10_000)] = []


class BatchSummary(BaseModel):
    """A job in a list, and how many of its devices are how far."""

    name: str
    body: DesiredBatch
    created_by: str
    created_at: datetime
    cancelled_at: datetime | None
    cancelled_by: str
    counts: dict[str, int]


class BatchDevicePublic(BaseModel):
    """How a job is on one device."""

    device_id: str
    name: str
    outcome: Outcome
    state: str
    """Of what is open, by the device's last report: waiting, working, held."""
    step: str
    """How far it is: rows so far."""
    version: int | None
    answered: int
    rejected: int
    duration_s: float
    result_bytes: int
    is_stored: bool
    """Whether the answers have come; else they are on the device."""
    problem: Problem | None
    ended_at: datetime | None


class BatchDetail(BatchSummary):
    """A job with a page of its devices, by name."""

    devices: list[BatchDevicePublic]


@router.get("", responses=documented(401, 403, 422))
def list_batches(
    session: Reading, _viewer: Viewer, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[BatchSummary]:
    """List jobs, the newest first."""
    rows = session.exec(select(Batch).order_by(col(Batch.created_at).desc(), col(Batch.name)).limit(limit)).all()
    return [_summary(session, row) for row in rows]


@router.post("", status_code=201, responses=documented(400, 401, 403, 404, 409, 413, 422))
def create_batch(body: BatchCreate, session: Writing, operator: DeviceOperator) -> BatchSummary:
    """Hand a job out; which files a device reads for it, and whether answers leave it, is for its owner to say."""
    chosen = Chosen(body.groups, body.devices)
    row = hand_out(session, body.name, body.body, chosen, by=operator.name, now=utc_now())
    return _summary(session, row)


@router.get("/{name}", responses=documented(401, 403, 404, 422))
def read_batch(
    name: Line,
    session: Reading,
    _viewer: Viewer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> BatchDetail:
    """Return a job with a page of its devices, by name, and how each is."""
    row = find_batch(session, name)
    wanted = select(BatchDevice, Device).where(BatchDevice.batch == name, BatchDevice.device_id == Device.id)
    found = session.exec(wanted.order_by(col(Device.name), col(Device.id)).limit(limit).offset(offset)).all()
    return BatchDetail(**_summary(session, row).model_dump(), devices=_devices(name, found))


@router.post("/{name}/cancel", responses=documented(401, 403, 404, 422))
def cancel_batch(name: Line, session: Writing, operator: DeviceOperator) -> BatchSummary:
    """Take a job back: devices that are at it stop; answers that they have stay with them."""
    return _summary(session, cancel(session, name, by=operator.name, now=utc_now()))


@router.get("/{name}/devices/{device_id}/answers", responses=documented(401, 403, 404, 422), response_class=Response)
def fetch_answers(name: Line, device_id: Line, hub: Hub, _operator: AnswerReader) -> Response:
    """Return the answers of a device, in the job's form. Who has fetched them is audited."""
    with audited(hub) as session:
        row = session.get(BatchDevice, (name, device_id))
        if row is None or not row.is_stored or row.result_sha256 is None:
            raise NotFoundError(f"no answers of {device_id} to {name} have come", f"look: shoal batch show {name}")
    return Response(hub.artifacts.read(row.result_sha256), media_type="application/octet-stream")


def _summary(session: Session, row: Batch) -> BatchSummary:
    session.flush()
    counted = select(BatchDevice.outcome, func.count()).where(BatchDevice.batch == row.name)
    return BatchSummary(
        name=row.name,
        body=DesiredBatch.model_validate(row.body),
        created_by=row.created_by,
        created_at=row.created_at,
        cancelled_at=row.cancelled_at,
        cancelled_by=row.cancelled_by,
        counts=dict(session.exec(counted.group_by(BatchDevice.outcome)).all()),
    )


def _devices(name: str, found: Sequence[tuple[BatchDevice, Device]]) -> list[BatchDevicePublic]:
    return [_device(name, row, device) for row, device in found]


def _device(name: str, row: BatchDevice, device: Device) -> BatchDevicePublic:
    reported = reported_state(device)
    said = reported.sections.get(f"{BATCHES}{name}") if reported is not None else None
    is_open = row.outcome == "open"
    return BatchDevicePublic(
        device_id=device.id,
        name=device.name,
        outcome=row.outcome,
        state=(said.state if said else "waiting") if is_open else "",
        step=said.step if said else "",
        version=row.version,
        answered=row.answered,
        rejected=row.rejected,
        duration_s=row.duration_s,
        result_bytes=row.result_bytes,
        is_stored=row.is_stored,
        problem=Problem.model_validate(row.problem) if row.problem else (said.problem if said and is_open else None),
        ended_at=row.ended_at,
    )
