"""Routes of trials: start, list, look at one, stop."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel import col, select

from shoal_hub.approvals.policy import require_none_needed
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, RolloutOperator, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.requests import Line
from shoal_hub.trials.public import MisfitPublic, StartedTrial, TrialDetail, TrialRequest, TrialSummary
from shoal_hub.trials.results import detail, read_results, summarise
from shoal_hub.trials.start import end_trial, find_trial, start_trial
from shoal_hub.trials.tables import Trial

router = APIRouter(prefix="/trials", tags=["trials"])


@router.post("", status_code=201, responses=documented(400, 401, 403, 404, 409, 413, 422))
def create_trial(body: TrialRequest, hub: Hub, session: Writing, operator: RolloutOperator) -> StartedTrial:
    """Start a trial: the candidate runs beside what serves, in shadow or for a share of devices or request keys.

    Devices that it does not fit are left out, and told with the reason.
    """
    if body.mode == "ab":  # its answers go out, as a rollout's do
        require_none_needed(session, body.model, "rollout")
    trial, misfits = start_trial(session, hub, body, by=operator.name, now=utc_now())
    left_out = [MisfitPublic(device_id=one.device_id, problem=one.problem) for one in misfits]
    return StartedTrial(**detail(session, trial).model_dump(), misfits=left_out)


@router.get("", responses=documented(401, 403, 422))
def list_trials(
    session: Reading,
    _viewer: Viewer,
    model: Line = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[TrialSummary]:
    """List trials, newest first."""
    wanted = select(Trial).order_by(col(Trial.created_at).desc(), col(Trial.id)).limit(limit)
    return [summarise(one) for one in session.exec(wanted.where(Trial.model == model) if model else wanted)]


@router.get("/{trial_id}", responses=documented(401, 403, 404, 422))
def read_trial(trial_id: Line, session: Reading, _viewer: Viewer) -> TrialDetail:
    """Return one trial with what it has come to."""
    return detail(session, find_trial(session, trial_id))


@router.post("/{trial_id}/stop", responses=documented(401, 403, 404, 409, 422))
def stop_trial(trial_id: Line, hub: Hub, session: Writing, operator: RolloutOperator) -> TrialDetail:
    """End a trial; its devices let the candidate go."""
    with hub.database.session() as reading:  # all of its windows, for which no writer has to wait
        results = read_results(reading, find_trial(reading, trial_id))
    trial = find_trial(session, trial_id, is_locked=True)
    end_trial(session, trial, f"stopped by {operator.name}", results, utc_now())
    return detail(session, trial)
