"""Routes of federated runs: start, list, look at one, stop."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlmodel import Session, col, select

from shoal_contract.reported import Problem
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, RolloutOperator, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import NotFoundError
from shoal_hub.federation.start import RunRequest, start_run, stop_run
from shoal_hub.federation.tables import FederatedRun, Outcome, RoundAnswer, RunState
from shoal_hub.requests import Line

router = APIRouter(prefix="/federated", tags=["federated"])


class RunPublic(BaseModel):
    """A federated run; `history` has one entry a round."""

    id: str
    model: str
    base_version: int
    dataset: str
    devices: list[str]
    rounds: int
    min_devices: int
    epochs: int
    batch_size: int
    learning_rate: float
    update_scheme: str
    parent_share: float
    deadline_s: float
    state: RunState
    current_round: int
    history: list[dict[str, Any]]
    result_version: int | None
    job_id: str
    reason: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None


class AnswerPublic(BaseModel):
    """What one device answered in one round."""

    round: int
    device_id: str
    outcome: Outcome
    examples: int
    update_bytes: int
    loss_before: float | None
    loss_after: float | None
    duration_s: float
    peak_memory_bytes: int
    problem: Problem | None
    received_at: datetime


class RunDetail(RunPublic):
    """A run with every device's answers."""

    answers: list[AnswerPublic]


@router.post("", status_code=201, responses=documented(400, 401, 403, 404, 409, 413, 422))
def start(body: RunRequest, hub: Hub, session: Writing, operator: RolloutOperator) -> RunPublic:
    """Start a federated run; it goes on in a job of its own."""
    run = start_run(session, hub.artifacts, body, by=operator.name, now=utc_now())
    return RunPublic.model_validate(run, from_attributes=True)


@router.get("", responses=documented(401, 403))
def list_runs(session: Reading, _viewer: Viewer) -> list[RunPublic]:
    """List runs, the newest first."""
    rows = session.exec(select(FederatedRun).order_by(col(FederatedRun.created_at).desc()).limit(1000))
    return [RunPublic.model_validate(row, from_attributes=True) for row in rows]


@router.get("/{run_id}", responses=documented(401, 403, 404, 422))
def read_run(run_id: Line, session: Reading, _viewer: Viewer) -> RunDetail:
    """Return one run with its rounds and answers."""
    run = _run(session, run_id)
    rows = session.exec(
        select(RoundAnswer)
        .where(RoundAnswer.run == run_id)
        .order_by(col(RoundAnswer.round), col(RoundAnswer.device_id))
    )
    answers = [AnswerPublic.model_validate(row, from_attributes=True) for row in rows]
    public = RunPublic.model_validate(run, from_attributes=True)
    return RunDetail(**public.model_dump(), answers=answers)


@router.post("/{run_id}/stop", responses=documented(401, 403, 404, 409, 422))
def stop(run_id: Line, session: Writing, operator: RolloutOperator) -> RunPublic:
    """Stop a run."""
    run = _run(session, run_id)
    stop_run(session, run, by=operator.name, now=utc_now())
    return RunPublic.model_validate(run, from_attributes=True)


def _run(session: Session, run_id: str) -> FederatedRun:
    run = session.get(FederatedRun, run_id)
    if run is None:
        raise NotFoundError(f"no federated run {run_id}", "list them: shoal federated list")
    return run
