"""Routes of rollouts: plan, start, look at them, and an operator's commands on one."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlmodel import Session, col, select

from shoal_hub.approvals.policy import approvals_needed, require_none_needed
from shoal_hub.approvals.public import WAITING, waiting
from shoal_hub.approvals.requests import ask
from shoal_hub.approvals.tables import Kind
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, RolloutOperator, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.operators.roles import Principal
from shoal_hub.requests import Line
from shoal_hub.rollouts import commands
from shoal_hub.rollouts.counts import count_by_wave
from shoal_hub.rollouts.history import HistoryEntry, read_history
from shoal_hub.rollouts.listing import Order, first_deployments
from shoal_hub.rollouts.preview import RolloutPreview, preview
from shoal_hub.rollouts.public import RolloutDetail, RolloutSummary, detail, summarise
from shoal_hub.rollouts.request import RolloutRequest
from shoal_hub.rollouts.start import find_rollout, start_request, starter_of
from shoal_hub.rollouts.tables import Rollout

router = APIRouter(prefix="/rollouts", tags=["rollouts"])

SHOWN = 1000
"""Deployments that an answer holds if no other number is asked for; the counts are of all."""


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
    return _start_or_ask(hub, session, body, operator)


@router.post("/plan", responses=documented(400, 401, 403, 404, 409, 413, 422))
def plan_rollout(body: RolloutRequest, hub: Hub, operator: RolloutOperator) -> RolloutPreview:
    """Show what a rollout would do, device by device, with the bytes that it would send. Nothing of it is kept."""
    with hub.database.rehearsal() as trial:
        now = utc_now()
        rollout = start_request(trial, starter_of(hub, is_rehearsal=True), body, by=operator.name)
        return preview(trial, rollout, now, hub.settings.retained_budget_bytes)


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
    counts = count_by_wave(session, [one.id for one in rows])
    return [summarise(row, counts[row.id]) for row in rows]


@router.get("/{rollout_id}", responses=documented(401, 403, 404, 422))
def read_rollout(
    rollout_id: Line,
    session: Reading,
    _viewer: Viewer,
    limit: Annotated[int, Query(ge=0, le=100_000)] = SHOWN,
    order: Order = "wave",
) -> RolloutDetail:
    """Return one rollout with its first `limit` deployments; the counts are of all.

    They come by wave, or by `concern`: first what has failed, then what is at it, then what has yet to begin.
    """
    return _show(session, find_rollout(session, rollout_id), limit, order)


@router.get("/{rollout_id}/history", responses=documented(401, 403, 404, 422))
def read_rollout_history(
    rollout_id: Line,
    session: Reading,
    _viewer: Viewer,
    limit: Annotated[int, Query(ge=1, le=10_000)] = SHOWN,
) -> list[HistoryEntry]:
    """Return the last things that happened to a rollout, in order: its audit and its events."""
    return read_history(session, find_rollout(session, rollout_id).id, limit)


@router.post("/{rollout_id}/pause", responses=documented(401, 403, 404, 409, 422))
def pause_rollout(rollout_id: Line, session: Writing, operator: RolloutOperator) -> RolloutDetail:
    """Let no further device begin."""
    row = find_rollout(session, rollout_id, is_locked=True)
    commands.pause(session, row, by=operator.name, now=utc_now())
    return _show(session, row)


@router.post("/{rollout_id}/resume", responses=documented(401, 403, 404, 409, 422))
def resume_rollout(rollout_id: Line, session: Writing, operator: RolloutOperator) -> RolloutDetail:
    """Go on with a paused rollout."""
    row = find_rollout(session, rollout_id, is_locked=True)
    commands.resume(session, row, by=operator.name, now=utc_now())
    return _show(session, row)


@router.post("/{rollout_id}/abort", responses=documented(401, 403, 404, 409, 422))
def abort_rollout(rollout_id: Line, session: Writing, operator: RolloutOperator) -> RolloutDetail:
    """End a rollout that has not ended; its devices go back to what they had."""
    row = find_rollout(session, rollout_id, is_locked=True)
    commands.abort(session, row, by=operator.name, now=utc_now())
    return _show(session, row)


@router.post("/{rollout_id}/rollback", responses=documented(401, 403, 404, 409, 422))
def roll_back_rollout(rollout_id: Line, session: Writing, operator: RolloutOperator) -> RolloutDetail:
    """Take every device of a rollout back to what it had before."""
    row = find_rollout(session, rollout_id, is_locked=True)
    commands.roll_back(session, row, by=operator.name, now=utc_now())
    return _show(session, row)


@router.post(
    "/{rollout_id}/approve",
    response_model=RolloutDetail,
    responses=WAITING | documented(401, 403, 404, 409, 422),
)
def approve_wave(rollout_id: Line, hub: Hub, session: Writing, operator: RolloutOperator) -> RolloutDetail | Response:
    """Let the next wave start, or a wave past its gate that was undecided for its time.

    Where the model's policy wants approvals, they are asked for first.
    """
    row, now = find_rollout(session, rollout_id, is_locked=True), utc_now()
    is_past_gate = commands.require_waiting_wave(session, row, now)
    wave = row.current_wave + 1
    if approvals_needed(session, row.model, "wave"):
        plan = {"model": row.model, "version": row.version, "rollout": row.id, "wave": wave}
        plan |= {"is_past_gate": True} if is_past_gate else {}
        return _ask(hub, session, "wave", plan, operator)
    require_none_needed(session, row.model, "wave")
    commands.approve_wave(session, row, wave, by=operator.name, now=now, is_past_gate=is_past_gate)
    return _show(session, row)


@router.post(
    "/{rollout_id}/forward",
    status_code=201,
    response_model=RolloutDetail,
    responses=WAITING | documented(401, 403, 404, 409, 422),
)
def roll_forward(rollout_id: Line, hub: Hub, session: Writing, operator: RolloutOperator) -> RolloutDetail | Response:
    """Undo a rollback or an abort: start a new rollout of the same version, by the same plan, to the same devices."""
    with hub.database.session() as reading:  # the start is rehearsed, which needs the database to itself
        again = commands.plan_again(reading, find_rollout(reading, rollout_id))
    return _start_or_ask(hub, session, again, operator)


def _start_or_ask(
    hub: HubContext, session: Session, request: RolloutRequest, operator: Principal
) -> RolloutDetail | Response:
    version = _version_that_waits(hub, request, operator.name)
    if version is not None:
        return _ask(hub, session, "rollout", request.model_dump(mode="json") | {"version": version}, operator)
    require_none_needed(session, request.model, "rollout")
    return _show(session, start_request(session, starter_of(hub), request, by=operator.name))


def _version_that_waits(hub: HubContext, body: RolloutRequest, by: str) -> int | None:
    """Return the number of the version, if its rollout needs approvals; what cannot start is refused before."""
    with hub.database.rehearsal() as trial:
        if not approvals_needed(trial, body.model, "rollout"):
            return None
        return start_request(trial, starter_of(hub, is_rehearsal=True), body, by=by).version


def _ask(hub: HubContext, session: Session, kind: Kind, plan: dict[str, Any], operator: Principal) -> Response:
    now, life = utc_now(), timedelta(seconds=hub.settings.approval_life_s)
    return waiting(session, ask(session, kind, plan, author=operator, life=life, now=now), now)


def _show(session: Session, row: Rollout, limit: int = SHOWN, order: Order = "wave") -> RolloutDetail:
    return detail(session, row, first_deployments(session, row.id, order, limit))
