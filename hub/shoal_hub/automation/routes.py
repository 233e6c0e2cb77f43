"""Routes of automation: policies, their dry run, and runs with their history; a person's commands on a run."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel import select

from shoal_contract.ids import Name
from shoal_hub.automation.commands import approve_step, retry_run, stop_run
from shoal_hub.automation.dry_run import DryRun, dry_run
from shoal_hub.automation.machine import RunState
from shoal_hub.automation.policies import find_policy, remove_policy, scopes_of, set_policy, switch_policy
from shoal_hub.automation.policy import Policy
from shoal_hub.automation.public import (
    ApproveStep,
    DryRunAsk,
    PolicyDetail,
    PolicySummary,
    RunDetail,
    RunSummary,
    list_runs,
    policy_detail,
    policy_summary,
    run_detail,
)
from shoal_hub.automation.runs import find_run
from shoal_hub.automation.tables import PolicyRow
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Approver, Hub, Reading, RolloutOperator, Viewer, Writing, check_right
from shoal_hub.error_response import documented
from shoal_hub.errors import InvalidInputError
from shoal_hub.operators.roles import Role
from shoal_hub.requests import Line

router = APIRouter(prefix="/automation", tags=["automation"])


@router.get("/policies", responses=documented(401, 403))
def list_policies(session: Reading, _viewer: Viewer) -> list[PolicySummary]:
    """List policies by name, with what the last look at each came to."""
    rows = session.exec(select(PolicyRow).order_by(PolicyRow.name)).all()
    return [policy_summary(session, row) for row in rows]


@router.get("/policies/{name}", responses=documented(401, 403, 404, 422))
def read_policy(name: Line, session: Reading, _viewer: Viewer) -> PolicyDetail:
    """Return a policy, what looks at it came to lately, and its runs."""
    return policy_detail(session, find_policy(session, name))


@router.put("/policies/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def apply_policy(name: Name, body: Policy, session: Writing, operator: RolloutOperator) -> PolicyDetail:
    """Set a policy, in place of an earlier one of its name. It acts in the name of whoever has set it last.

    A token needs the scopes of what the policy's steps do: rollouts, and devices or models besides.
    """
    if body.name != name:
        raise InvalidInputError(f"setting the policy {name}: the body names {body.name}", "name both alike")
    for scope in sorted(scopes_of(body)):
        check_right(operator, Role.OPERATOR, scope)
    row = set_policy(session, body, by=operator, now=utc_now())
    session.flush()
    return policy_detail(session, row)


@router.delete("/policies/{name}", responses=documented(401, 403, 404, 409, 422))
def delete_policy(name: Line, session: Writing, operator: RolloutOperator) -> PolicyDetail:
    """Forget a policy; its runs stay. Return what was forgotten."""
    shown = policy_detail(session, find_policy(session, name))
    remove_policy(session, name, by=operator.name, now=utc_now())
    return shown


@router.post("/policies/{name}/enable", responses=documented(401, 403, 404, 422))
def enable_policy(name: Line, session: Writing, operator: RolloutOperator) -> PolicyDetail:
    """Have a policy look again; a schedule counts from now."""
    return policy_detail(session, switch_policy(session, name, on=True, by=operator.name, now=utc_now()))


@router.post("/policies/{name}/disable", responses=documented(401, 403, 404, 422))
def disable_policy(name: Line, session: Writing, operator: RolloutOperator) -> PolicyDetail:
    """Have a policy look no more; a run that goes on goes on."""
    return policy_detail(session, switch_policy(session, name, on=False, by=operator.name, now=utc_now()))


@router.post("/dry-run", responses=documented(400, 401, 403, 404, 413, 422))
def try_policy(body: DryRunAsk, session: Reading, _operator: RolloutOperator) -> DryRun:
    """Replay a past period, and say when a policy would have begun a run and what would have held it back.

    The policy need not be set. Nothing changes.
    """
    return dry_run(session, body.policy, body.since, body.until or utc_now(), body.every_s)


@router.get("/runs", responses=documented(401, 403, 422))
def list_automation_runs(
    session: Reading,
    _viewer: Viewer,
    policy: Line = "",
    state: RunState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[RunSummary]:
    """List runs, the newest first."""
    return list_runs(session, policy=policy, state=state, limit=limit)


@router.get("/runs/{run_id}", responses=documented(401, 403, 404, 422))
def read_run(run_id: Line, hub: Hub, session: Reading, _viewer: Viewer) -> RunDetail:
    """Return a run with its full history: why each step was taken, from which facts, with what result."""
    return run_detail(session, hub, find_run(session, run_id))


@router.post("/runs/{run_id}/approve", responses=documented(400, 401, 403, 404, 409, 413, 422))
def approve_run(run_id: Line, body: ApproveStep, hub: Hub, session: Writing, approver: Approver) -> RunDetail:
    """Approve the step for which a run waits, by the hash of what was looked at."""
    run = find_run(session, run_id, is_locked=True)
    approve_step(session, run, body.content_sha256, by=approver, comment=body.comment, now=utc_now())
    session.flush()
    return run_detail(session, hub, run)


@router.post("/runs/{run_id}/stop", responses=documented(401, 403, 404, 409, 422))
def stop_automation_run(run_id: Line, hub: Hub, session: Writing, operator: RolloutOperator) -> RunDetail:
    """Stop a run; what its step has begun is taken back, a rollout is aborted."""
    run = stop_run(session, hub, run_id, by=operator.name, now=utc_now())
    session.flush()
    return run_detail(session, hub, run)


@router.post("/runs/{run_id}/retry", responses=documented(401, 403, 404, 409, 422))
def retry_automation_run(run_id: Line, hub: Hub, session: Writing, operator: RolloutOperator) -> RunDetail:
    """Have the failed step of a run tried again, and the run go on from there."""
    run = retry_run(session, run_id, by=operator.name, now=utc_now())
    session.flush()
    return run_detail(session, hub, run)
