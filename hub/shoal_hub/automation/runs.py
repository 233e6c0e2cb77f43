"""Keeps runs: from rows to the state machine's view and back, with what they leave in events and in the audit trail."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlmodel import Session, col, select

from shoal_hub.approvals.content import content_of, hash_content
from shoal_hub.approvals.policy import approvals_needed
from shoal_hub.audit.actor import Actor
from shoal_hub.audit.record import record
from shoal_hub.automation.begin import actor_name
from shoal_hub.automation.decide import Decision
from shoal_hub.automation.machine import OPEN, RunView, StepView
from shoal_hub.automation.policy import Policy
from shoal_hub.automation.steps import PolicyStep, TrialStep
from shoal_hub.automation.tables import AutomationRun, AutomationStep, PolicyRevision, PolicyRow, StepApproval
from shoal_hub.database import announce
from shoal_hub.errors import NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import Severity
from shoal_hub.ids import new_id
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tables import User

_STEP: TypeAdapter[PolicyStep] = TypeAdapter(PolicyStep)
_SEVERE: dict[str, Severity] = {"failed": "error", "rejected": "warning", "stopped": "warning"}


def begin_run(
    session: Session, row: PolicyRow, policy: Policy, decision: Decision, champion: int | None, now: datetime
) -> AutomationRun:
    """Add a run with its steps; it goes on with the controller's next look."""
    trigger = decision.model_dump(mode="json") | {"reason": decision.reason}
    run = AutomationRun(
        id=new_id("au"),
        policy=row.name,
        revision=row.revision,
        model=row.model,
        trigger=trigger,
        champion=champion,
        created_at=now,
    )
    session.add(run)
    session.flush()
    session.add_all(
        AutomationStep(run_id=run.id, position=position, kind=step.kind, body=step.model_dump(mode="json"))
        for position, step in enumerate(policy.plan())
    )
    session.flush()
    note(session, run, "automation_run_began", f"{row.name} begins {run.id}: {decision.reason}", now)
    after = {"policy": row.name, "revision": row.revision, "reason": decision.reason}
    record(session, Actor.system(actor_name(row.name)), "automation.begin", subject_of(run.id), {}, after)
    return run


def find_run(session: Session, run_id: str, *, is_locked: bool = False) -> AutomationRun:
    """Return a run; locked, nobody else moves it before this transaction has ended.

    Raises:
        NotFoundError: There is none of this id.
    """
    row = session.get(AutomationRun, run_id, with_for_update=is_locked or None)
    if row is None:
        raise NotFoundError(f"no run {run_id}", "list them: shoal automation runs")
    return row


def steps_of(session: Session, run_id: str) -> list[AutomationStep]:
    """Return a run's steps in order."""
    wanted = select(AutomationStep).where(AutomationStep.run_id == run_id)
    return list(session.exec(wanted.order_by(col(AutomationStep.position))))


def policy_of(session: Session, run: AutomationRun) -> Policy:
    """Return the policy as it was when a run began."""
    return Policy.model_validate(session.get_one(PolicyRevision, (run.policy, run.revision)).body)


def view_run(session: Session, run: AutomationRun, steps: Sequence[AutomationStep], policy: Policy) -> RunView:
    """Return a run as the state machine sees it."""
    views = tuple(_view(step) for step in steps)
    return RunView(
        state=run.state,
        steps=views,
        champion=run.champion,
        candidate=run.candidate,
        needs_approval={view.position: needed for view in views if (needed := _needed(session, run, view, policy))},
        approval_wait_s=policy.guards.approval_wait_s,
        step_timeout_s=policy.guards.step_timeout_s,
        reason=run.reason,
        ended_at=run.ended_at,
    )


def _view(step: AutomationStep) -> StepView:
    return StepView(
        position=step.position,
        body=_STEP.validate_python(step.body),
        state=step.state,
        attempt=step.attempt,
        why=step.why,
        result=step.result,
        waiting_since=step.waiting_since,
        begun_at=step.begun_at,
        ended_at=step.ended_at,
    )


def _needed(session: Session, run: AutomationRun, step: StepView, policy: Policy) -> int:
    """Return how many people have to approve a step: by the policy's guard, and what the model's own policy asks."""
    asked = 1 if step.body.kind in policy.guards.approval else 0
    goes_out = step.body.kind == "roll_out" or (isinstance(step.body, TrialStep) and step.body.mode == "ab")
    return max(asked, approvals_needed(session, run.model, "rollout")) if goes_out else asked


def save_run(
    session: Session,
    run: AutomationRun,
    steps: Sequence[AutomationStep],
    view: RunView,
    now: datetime,
    *,
    is_by_itself: bool = True,
) -> None:
    """Write back what has changed of a run, and tell of it.

    Args:
        session: An open transaction.
        run: Its row.
        steps: Its steps' rows.
        view: What it is to be.
        now: The clock.
        is_by_itself: Whether the hub does it, which is audited here; a person's request is audited as such.
    """
    changed = []
    for row, step in zip(steps, view.steps, strict=True):
        if row.state != step.state or row.attempt != step.attempt:
            changed.append((row, row.state, step))
        row.state, row.attempt, row.why, row.result = step.state, step.attempt, step.why or row.why, dict(step.result)
        row.waiting_since, row.begun_at, row.ended_at = step.waiting_since, step.begun_at, step.ended_at
        session.add(row)
    before = run.state
    run.state, run.candidate, run.reason, run.ended_at = view.state, view.candidate, view.reason, view.ended_at
    session.add(run)
    for row, was, step in changed:
        reason = str(step.result.get("reason") or (step.result.get("verdict") or {}).get("reason") or step.why)
        text = f"{run.id} of {run.policy}: {row.kind} is {step.state}" + (f": {reason}" if reason else "")
        note(session, run, "automation_step", text, now, _SEVERE.get(step.state, "info"))
        if is_by_itself:
            _record_step(session, run, row, was, step, reason)
    if run.state != before and run.state not in OPEN:
        text = f"{run.id} of {run.policy} {run.state}: {run.reason}"
        note(session, run, f"automation_run_{run.state}", text, now, _SEVERE.get(run.state, "info"))
    announce(session, "automation")


def _record_step(
    session: Session, run: AutomationRun, row: AutomationStep, was: str, step: StepView, reason: str
) -> None:
    before: dict[str, Any] = {"step": row.position, "state": was}
    after = {"step": row.position, "kind": row.kind, "state": step.state, "links": row.links, "reason": reason[:500]}
    record(session, Actor.system(actor_name(run.policy)), "automation.step", subject_of(run.id), before, after)


def note(
    session: Session, run: AutomationRun, kind: str, text: str, now: datetime, severity: Severity = "info"
) -> None:
    """Record an event of a run."""
    record_event(session, kind, text[:1000], subject=f"automation/{run.id}", severity=severity, at=now)
    announce(session, "automation")


def subject_of(run_id: str) -> str:
    """Return what the audit trail calls a run."""
    return f"automation/runs/{run_id}"


def content_hash(session: Session, run: AutomationRun, step: AutomationStep) -> str:
    """Return the SHA-256 of what people approve: the step, and the very bytes that it would bring to devices."""
    content: dict[str, Any] = {"run": run.id, "step": step.position, "body": step.body, "champion": run.champion}
    if run.candidate is not None:
        plan = {"model": run.model, "version": run.candidate}
        content |= {"brings": content_of(session, "rollout", plan)}
    return hash_content(content)


def approvals_of(session: Session, run: AutomationRun, step: AutomationStep) -> list[StepApproval]:
    """Return the approvals of the present attempt at a step, the first one first."""
    wanted = select(StepApproval).where(
        StepApproval.run_id == run.id,
        StepApproval.position == step.position,
        StepApproval.attempt == step.attempt,
        StepApproval.content_sha256 == step.content_sha256,
    )
    return list(session.exec(wanted.order_by(col(StepApproval.at))))


def count_approvals(session: Session, approvals: Iterable[StepApproval]) -> int:
    """Return how many of them are by people who may still approve."""
    count = 0
    for one in approvals:
        user = session.get(User, one.user_id)
        count += user is not None and user.disabled_at is None and Role(user.role).includes(Role.APPROVER)
    return count
