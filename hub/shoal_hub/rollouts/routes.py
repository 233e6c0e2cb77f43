"""Routes of rollouts: start, look at them, pause, resume, abort, roll back."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlmodel import col, func, select

from shoal_hub.approvals.policy import approvals_needed, require_none_needed
from shoal_hub.approvals.public import WAITING, waiting
from shoal_hub.approvals.requests import ask
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, RolloutOperator, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.requests import Line
from shoal_hub.rollouts import commands
from shoal_hub.rollouts.public import RolloutDetail, RolloutRequest, RolloutSummary, detail, summarise
from shoal_hub.rollouts.start import deployments_of, find_rollout, start_request, starter_of
from shoal_hub.rollouts.tables import Deployment, Rollout

router = APIRouter(prefix="/rollouts", tags=["rollouts"])


@router.post(
    "",
    status_code=201,
    response_model=RolloutDetail,
    responses=WAITING | documented(400, 401, 403, 404, 409, 413, 422),
)
def create_rollout(
    body: RolloutRequest, hub: Hub, session: Writing, operator: RolloutOperator
) -> RolloutDetail | Response:
    """Start a rollout, or ask for the approvals that the model's policy wants first."""
    version = _version_that_waits(hub, body, operator.name)
    if version is not None:
        now, plan = utc_now(), body.model_dump(mode="json") | {"version": version}
        life = timedelta(seconds=hub.settings.approval_life_s)
        return waiting(session, ask(session, "rollout", plan, author=operator, life=life, now=now), now)
    require_none_needed(session, body.model, "rollout")
    row = start_request(session, starter_of(hub), body, by=operator.name)
    return detail(session, row, deployments_of(session, row.id))


@router.get("", responses=documented(401, 403, 422))
def list_rollouts(
    session: Reading,
    _viewer: Viewer,
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


@router.get("/{rollout_id}", responses=documented(401, 403, 404, 422))
def read_rollout(rollout_id: Line, session: Reading, _viewer: Viewer) -> RolloutDetail:
    """Return one rollout with its deployments."""
    return detail(session, find_rollout(session, rollout_id), deployments_of(session, rollout_id))


@router.post("/{rollout_id}/pause", responses=documented(401, 403, 404, 409, 422))
def pause_rollout(rollout_id: Line, session: Writing, operator: RolloutOperator) -> RolloutDetail:
    """Let no further device begin."""
    commands.pause(session, find_rollout(session, rollout_id, is_locked=True), by=operator.name)
    return read_rollout(rollout_id, session, operator)


@router.post("/{rollout_id}/resume", responses=documented(401, 403, 404, 409, 422))
def resume_rollout(rollout_id: Line, session: Writing, operator: RolloutOperator) -> RolloutDetail:
    """Go on with a paused rollout."""
    commands.resume(session, find_rollout(session, rollout_id, is_locked=True), by=operator.name, now=utc_now())
    return read_rollout(rollout_id, session, operator)


@router.post("/{rollout_id}/abort", responses=documented(401, 403, 404, 409, 422))
def abort_rollout(rollout_id: Line, session: Writing, operator: RolloutOperator) -> RolloutDetail:
    """End a rollout that has not ended; its devices go back to what they had."""
    commands.abort(session, find_rollout(session, rollout_id, is_locked=True), by=operator.name, now=utc_now())
    return read_rollout(rollout_id, session, operator)


@router.post("/{rollout_id}/rollback", responses=documented(401, 403, 404, 409, 422))
def roll_back_rollout(rollout_id: Line, session: Writing, operator: RolloutOperator) -> RolloutDetail:
    """Take every device of a rollout back to what it had before."""
    commands.roll_back(session, find_rollout(session, rollout_id, is_locked=True), by=operator.name, now=utc_now())
    return read_rollout(rollout_id, session, operator)


def _version_that_waits(hub: HubContext, body: RolloutRequest, by: str) -> int | None:
    """Return the number of the version, if its rollout needs approvals; what cannot start is refused before."""
    with hub.database.rehearsal() as trial:
        if not approvals_needed(trial, body.model, "rollout"):
            return None
        return start_request(trial, starter_of(hub), body, by=by).version
