"""Routes of rollouts: start, look at them, pause, resume, abort, roll back."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel import col, func, select

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Operator, Reading, Writing
from shoal_hub.error_response import documented
from shoal_hub.requests import Line
from shoal_hub.rollouts import commands
from shoal_hub.rollouts.public import RolloutDetail, RolloutRequest, RolloutSummary, detail, summarise
from shoal_hub.rollouts.start import Starter, deployments_of, find_rollout, start_rollout
from shoal_hub.rollouts.tables import Deployment, Rollout

router = APIRouter(prefix="/rollouts", tags=["rollouts"])


@router.post("", status_code=201, responses=documented(401, 404, 409, 422))
def create_rollout(body: RolloutRequest, hub: Hub, session: Writing, operator: Operator) -> RolloutDetail:
    """Start a rollout."""
    row = start_rollout(
        session,
        Starter(hub.artifacts, hub.trust, hub.settings.retained_budget_bytes),
        model=body.model,
        version=body.version,
        devices=body.devices,
        waves=body.waves,
        max_failures=body.max_failures,
        timeout_s=body.timeout_s,
        by=operator.name,
    )
    return detail(row, deployments_of(session, row.id))


@router.get("", responses=documented(401, 422))
def list_rollouts(
    session: Reading,
    _operator: Operator,
    model: Line = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[RolloutSummary]:
    """List rollouts, newest first."""
    wanted = select(Rollout).order_by(col(Rollout.created_at).desc(), col(Rollout.id)).limit(limit)
    rows = session.exec(wanted.where(Rollout.model == model) if model else wanted).all()
    counted = select(Deployment.rollout_id, Deployment.state, func.count()).group_by(
        col(Deployment.rollout_id), col(Deployment.state)
    )
    counts: dict[str, dict[str, int]] = {}
    for rollout_id, state, count in session.exec(
        counted.where(col(Deployment.rollout_id).in_([one.id for one in rows]))
    ):
        counts.setdefault(rollout_id, {})[state] = count
    return [summarise(row, counts.get(row.id, {})) for row in rows]


@router.get("/{rollout_id}", responses=documented(401, 404))
def read_rollout(rollout_id: Line, session: Reading, _operator: Operator) -> RolloutDetail:
    """Return one rollout with its deployments."""
    return detail(find_rollout(session, rollout_id), deployments_of(session, rollout_id))


@router.post("/{rollout_id}/pause", responses=documented(401, 404, 409))
def pause_rollout(rollout_id: Line, session: Writing, operator: Operator) -> RolloutDetail:
    """Let no further device begin."""
    commands.pause(session, find_rollout(session, rollout_id, is_locked=True), by=operator.name)
    return read_rollout(rollout_id, session, operator)


@router.post("/{rollout_id}/resume", responses=documented(401, 404, 409))
def resume_rollout(rollout_id: Line, session: Writing, operator: Operator) -> RolloutDetail:
    """Go on with a paused rollout."""
    commands.resume(session, find_rollout(session, rollout_id, is_locked=True), by=operator.name, now=utc_now())
    return read_rollout(rollout_id, session, operator)


@router.post("/{rollout_id}/abort", responses=documented(401, 404, 409))
def abort_rollout(rollout_id: Line, session: Writing, operator: Operator) -> RolloutDetail:
    """End a rollout that has not ended; its devices go back to what they had."""
    commands.abort(session, find_rollout(session, rollout_id, is_locked=True), by=operator.name, now=utc_now())
    return read_rollout(rollout_id, session, operator)


@router.post("/{rollout_id}/rollback", responses=documented(401, 404, 409))
def roll_back_rollout(rollout_id: Line, session: Writing, operator: Operator) -> RolloutDetail:
    """Take every device of a rollout back to what it had before."""
    commands.roll_back(session, find_rollout(session, rollout_id, is_locked=True), by=operator.name, now=utc_now())
    return read_rollout(rollout_id, session, operator)
