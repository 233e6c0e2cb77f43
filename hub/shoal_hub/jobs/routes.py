"""Routes of jobs: list, look at one, read its log."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from sqlmodel import col, select

from shoal_hub.dependencies import Hub, Reading, Viewer
from shoal_hub.error_response import documented
from shoal_hub.errors import NotFoundError
from shoal_hub.jobs.runner import log_path, read_tail
from shoal_hub.jobs.tables import Job, JobState
from shoal_hub.requests import Line

router = APIRouter(prefix="/jobs", tags=["jobs"])

_LOG_BYTES = 256 * 1024


class JobPublic(BaseModel):
    """One job; `progress` runs from 0 to 1 within the stage that `message` names."""

    id: str
    kind: str
    subject: str
    state: JobState
    progress: float
    message: str
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: str
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
    return JobPublic.model_validate(_job(session, job_id), from_attributes=True)


@router.get("/{job_id}/log", response_class=PlainTextResponse, responses=documented(401, 403, 404, 422))
def read_job_log(job_id: Line, hub: Hub, session: Reading, _viewer: Viewer) -> PlainTextResponse:
    """Return the last part of a job's log as text."""
    return PlainTextResponse(read_tail(log_path(hub.settings, _job(session, job_id).id), _LOG_BYTES))


def _job(session: Reading, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError(f"no job {job_id}", "list them: shoal jobs list")
    return job
