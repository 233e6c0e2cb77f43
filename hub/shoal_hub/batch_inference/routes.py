"""Routes of batch inference: set, list, look, switch, remove; begin runs, look at them, cancel and resume them."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, col, select

from shoal_contract.ids import Name
from shoal_hub.batch_inference.allowed import read_allowed
from shoal_hub.batch_inference.runs import (
    begin_run,
    cancel_run,
    find_inference,
    find_run,
    remove_inference,
    resume_run,
    set_inference,
    switch_schedule,
)
from shoal_hub.batch_inference.tables import BatchInferenceRow, BatchInferenceRunRow
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, ModelOperator, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.jobs.tables import Job
from shoal_hub.requests import Line
from shoal_training.batch_inference.reading import MAX_BYTES, parse_inference

router = APIRouter(prefix="/batch-inference", tags=["batch inference"])


class InferenceText(BaseModel):
    """The file of a batch inference."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=MAX_BYTES)


class ScheduleSwitch(BaseModel):
    """Whether a schedule begins runs."""

    model_config = ConfigDict(extra="forbid")

    is_enabled: bool


class InferencePublic(BaseModel):
    """A batch inference."""

    name: str
    text: str
    model: str
    """`name@version`."""
    source: str
    """Its kind; the text says more."""
    sink: str
    """Likewise."""
    schedule: dict[str, Any] | None
    is_enabled: bool
    set_by: str
    set_at: datetime


class InferenceRunPublic(BaseModel):
    """A run; `state`, `progress` and `error` are its job's."""

    id: str
    name: str
    model: str
    version: int
    state: str
    progress: str
    error: str
    result: dict[str, Any] | None
    """Rows and parts, once it has ended well."""
    reason: str
    job_id: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None


@router.get("", responses=documented(401, 403))
def list_inferences(session: Reading, _viewer: Viewer) -> list[InferencePublic]:
    """List batch inferences by name."""
    return [_public(row) for row in session.exec(select(BatchInferenceRow).order_by(BatchInferenceRow.name))]


@router.put("/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def set_one(name: Name, body: InferenceText, session: Writing, operator: ModelOperator, hub: Hub) -> InferencePublic:
    """Set a batch inference, in place of an earlier one; it may reach what the hub's settings allow."""
    definition = read_allowed(body.text, hub.settings)
    return _public(set_inference(session, name, body.text, definition, by=operator.name, now=utc_now()))


@router.get("/{name}", responses=documented(401, 403, 404, 422))
def read_one(name: Line, session: Reading, _viewer: Viewer) -> InferencePublic:
    """Return a batch inference."""
    return _public(find_inference(session, name))


@router.delete("/{name}", responses=documented(401, 403, 404, 409, 422))
def remove_one(name: Line, session: Writing, operator: ModelOperator) -> InferencePublic:
    """Forget a batch inference; its runs stay, and what they have written."""
    was = _public(find_inference(session, name))
    remove_inference(session, name, by=operator.name, now=utc_now())
    return was


@router.put("/{name}/schedule", responses=documented(400, 401, 403, 404, 413, 422))
def switch_one(name: Line, body: ScheduleSwitch, session: Writing, operator: ModelOperator) -> InferencePublic:
    """Have the schedule begin runs, or no more."""
    return _public(switch_schedule(session, name, on=body.is_enabled, by=operator.name, now=utc_now()))


@router.get("/{name}/runs", responses=documented(401, 403, 404, 422))
def list_runs(
    name: Line, session: Reading, _viewer: Viewer, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[InferenceRunPublic]:
    """List the runs of a batch inference, the newest first."""
    wanted = select(BatchInferenceRunRow).where(BatchInferenceRunRow.name == name)
    rows = session.exec(wanted.order_by(col(BatchInferenceRunRow.created_at).desc()).limit(limit)).all()
    if not rows:
        find_inference(session, name)
    return [_run(session, row) for row in rows]


@router.post("/{name}/runs", status_code=201, responses=documented(401, 403, 404, 409, 422))
def begin_one(name: Line, session: Writing, operator: ModelOperator) -> InferenceRunPublic:
    """Begin a run now, by the version that the model's name stands for."""
    row = find_inference(session, name, is_locked=True)
    run = begin_run(session, row, by=operator.name, reason=f"by {operator.name}", now=utc_now())
    return _run(session, run)


@router.get("/{name}/runs/{run_id}", responses=documented(401, 403, 404, 422))
def read_run(name: Line, run_id: Line, session: Reading, _viewer: Viewer) -> InferenceRunPublic:
    """Return a run."""
    return _run(session, find_run(session, name, run_id))


@router.post("/{name}/runs/{run_id}/cancel", responses=documented(401, 403, 404, 422))
def cancel_one(name: Line, run_id: Line, session: Writing, operator: ModelOperator) -> InferenceRunPublic:
    """End a run; what it has written stays, and it can be gone on with."""
    run = find_run(session, name, run_id, is_locked=True)
    cancel_run(session, run, by=operator.name)
    return _run(session, run)


@router.post("/{name}/runs/{run_id}/resume", responses=documented(401, 403, 404, 409, 422))
def resume_one(name: Line, run_id: Line, session: Writing, operator: ModelOperator) -> InferenceRunPublic:
    """Go on with a run that has failed or was cancelled: parts that are written are not answered again."""
    run = find_run(session, name, run_id, is_locked=True)
    return _run(session, resume_run(session, run, by=operator.name))


def _public(row: BatchInferenceRow) -> InferencePublic:
    definition = parse_inference(row.text)
    return InferencePublic(
        name=row.name,
        text=row.text,
        model=definition.model.version,
        source=definition.source.kind,
        sink=definition.sink.kind,
        schedule=None if definition.schedule is None else definition.schedule.model_dump(mode="json"),
        is_enabled=row.is_enabled,
        set_by=row.set_by,
        set_at=row.set_at,
    )


def _run(session: Session, row: BatchInferenceRunRow) -> InferenceRunPublic:
    session.flush()
    job = session.get_one(Job, row.job_id, populate_existing=True)
    return InferenceRunPublic(
        id=row.id,
        name=row.name,
        model=row.model,
        version=row.number,
        state=job.state,
        progress=job.message,
        error=job.error,
        result=job.result,
        reason=row.reason,
        job_id=row.job_id,
        created_by=row.created_by,
        created_at=row.created_at,
        ended_at=job.ended_at,
    )
