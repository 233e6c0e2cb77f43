"""Routes of jobs: list, look at one, read its log or follow it, cancel, do again."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from sqlmodel import Session, col, select

from shoal_hub.context import HubContext
from shoal_hub.dependencies import Hub, ModelOperator, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.jobs import queue
from shoal_hub.jobs.follow import follow_log
from shoal_hub.jobs.log import job_folder, read_tail
from shoal_hub.jobs.tables import Cause, Job, JobState
from shoal_hub.operators.roles import Principal
from shoal_hub.requests import Line

router = APIRouter(prefix="/jobs", tags=["jobs"])

LOG_BYTES = 256 * 1024


class JobPublic(BaseModel):
    """One job; `progress` runs from 0 to 1 within the stage that `message` names."""

    id: str
    kind: str
    subject: str
    state: JobState
    priority: int
    progress: float
    message: str
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: str
    cause: Cause
    """Of a failure, in a word; of a queued job why its last attempt came to nothing."""
    attempts: int
    not_before: datetime | None
    """Of a queued job that is tried again."""
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@router.get("", responses=documented(401, 403, 422))
def list_jobs(session: Reading, _viewer: Viewer, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[JobPublic]:
    """List jobs, newest first."""
    rows = session.exec(select(Job).order_by(col(Job.created_at).desc()).limit(limit))
    return [JobPublic.model_validate(row, from_attributes=True) for row in rows]


@router.get("/{job_id}", responses=documented(401, 403, 404, 422))
def read_job(job_id: Line, session: Reading, _viewer: Viewer) -> JobPublic:
    """Return one job."""
    return JobPublic.model_validate(find_job(session, job_id), from_attributes=True)


@router.get("/{job_id}/log", response_class=PlainTextResponse, responses=documented(401, 403, 404, 422))
def read_job_log(job_id: Line, hub: Hub, session: Reading, _viewer: Viewer) -> PlainTextResponse:
    """Return the last part of a job's log as text."""
    folder = job_folder(hub.settings, find_job(session, job_id).id)
    return PlainTextResponse(read_tail(folder, LOG_BYTES))


@router.get("/{job_id}/log/stream", response_class=StreamingResponse, responses=documented(401, 403, 404, 422))
async def stream_job_log(
    job_id: Line, hub: Hub, viewer: Viewer, offset: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> StreamingResponse:
    """Server-sent events: `log` with `{"text", "next"}` as the job writes, then `end` with `{"state", "next"}`.

    A reader that was cut off goes on with `offset` at the last `next`; what the hub no longer keeps is passed over.
    """
    await run_in_threadpool(_require, hub, job_id)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(hub, viewer, job_id, offset), media_type="text/event-stream", headers=headers)


@router.post("/{job_id}/cancel", responses=documented(401, 403, 404, 409, 422))
def cancel_job(job_id: Line, session: Writing, operator: ModelOperator) -> JobPublic:
    """Cancel a job that is queued or runs: its processes end, and nothing of it is kept by halves."""
    job = find_job(session, job_id)
    if not queue.cancel(session, job.id, by=operator.name) and job.state != "cancelled":
        raise ConflictError(f"cancelling the job {job_id}: it has {job.state} already", "there is nothing to cancel")
    return JobPublic.model_validate(find_job(session, job_id), from_attributes=True)


@router.post("/{job_id}/retry", responses=documented(401, 403, 404, 409, 422))
def retry_job(job_id: Line, session: Writing, operator: ModelOperator) -> JobPublic:
    """Queue a job again that has failed or was cancelled; a training goes on from its last step or checkpoint."""
    job = find_job(session, job_id)
    queue.do_again(session, job, by=operator.name)
    return JobPublic.model_validate(job, from_attributes=True)


async def _events(hub: HubContext, viewer: Principal, job_id: str, offset: int) -> AsyncIterator[str]:
    async for told in follow_log(hub, viewer, job_id, offset):
        if told.is_quiet:
            yield ": still here\n\n"
        elif told.state:
            yield f"event: end\ndata: {json.dumps({'state': told.state, 'next': told.next})}\n\n"
        else:
            yield f"event: log\ndata: {json.dumps({'text': told.text, 'next': told.next})}\n\n"


def find_job(session: Session, job_id: str) -> Job:
    """Return a job.

    Raises:
        NotFoundError: There is none.
    """
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        raise NotFoundError(f"no job {job_id}", "list them: shoal jobs list")
    return job


def _require(hub: HubContext, job_id: str) -> None:
    with hub.database.session() as session:
        find_job(session, job_id)
