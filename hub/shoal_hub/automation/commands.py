"""A person's commands on a run: approve the step that waits, stop it, try a failed step again."""

from datetime import datetime

from sqlmodel import Session, col, select

from shoal_hub.automation.begin import Doing
from shoal_hub.automation.machine import OPEN, EndStep, retry, stop
from shoal_hub.automation.runs import find_run, note, policy_of, save_run, steps_of, view_run
from shoal_hub.automation.step_facts import end_step
from shoal_hub.automation.tables import AutomationRun, AutomationStep, PolicyRow, StepApproval
from shoal_hub.context import HubContext
from shoal_hub.errors import ConflictError, RefusedError
from shoal_hub.operators.roles import Principal


def approve_step(
    session: Session, run: AutomationRun, content_sha256: str, *, by: Principal, comment: str, now: datetime
) -> None:
    """Note that a person approves the step for which a run waits; the controller goes on with it.

    Raises:
        ConflictError: No step waits, this person has approved it, or what they saw is not what is asked for.
        RefusedError: This person may be who has set the policy.
    """
    step = _waiting(session, run)
    if content_sha256 != step.content_sha256:
        raise ConflictError(
            f"approving {run.id}: {content_sha256[:16]}… was looked at, {step.content_sha256[:16]}… is asked for",
            f"look at it again: shoal automation explain {run.id}",
        )
    policy = session.get(PolicyRow, run.policy)
    if policy is not None and (by.id == policy.set_by_id or by.holders & set(policy.holders)):
        raise RefusedError(
            f"approving {run.id}: {by.name} may be who has set the policy {run.policy}",
            "ask somebody else to approve it",
        )
    key = (run.id, step.position, step.attempt, by.id)
    if session.get(StepApproval, key) is not None:
        raise ConflictError(f"approving {run.id}: {by.name} has approved it", "another person has to approve it")
    session.add(
        StepApproval(
            run_id=run.id,
            position=step.position,
            attempt=step.attempt,
            user_id=by.id,
            name=by.name,
            comment=comment,
            content_sha256=content_sha256,
            at=now,
        )
    )
    note(session, run, "automation_approved", f"{by.name} approves {step.kind} of {run.id}", now)


def stop_run(session: Session, hub: HubContext, run_id: str, *, by: str, now: datetime) -> AutomationRun:
    """Stop a run: what its step has begun is taken back, a rollout is aborted.

    Raises:
        ConflictError: It has ended.
    """
    run = find_run(session, run_id, is_locked=True)
    if run.state not in OPEN:
        raise ConflictError(f"stopping {run.id}: it has {run.state}", "nothing is left to stop")
    steps, policy = steps_of(session, run.id), policy_of(session, run)
    move = stop(view_run(session, run, steps, policy), by, now)
    save_run(session, run, steps, move.run, now, is_by_itself=False)
    for effect in move.effects:
        if isinstance(effect, EndStep):
            doing = Doing(session, hub, policy, run, steps[effect.position], now)
            end_step(doing, move.run.steps[effect.position].body, f"stopped by {by}")
    return run


def retry_run(session: Session, run_id: str, *, by: str, now: datetime) -> AutomationRun:
    """Have the failed step of a run tried again, and the run go on.

    Raises:
        ConflictError: It has not failed, or another run of the policy goes on.
    """
    run = find_run(session, run_id, is_locked=True)
    if run.state not in {"failed", "rejected"}:
        raise ConflictError(f"retrying {run.id}: it is {run.state}", "only what failed or was rejected can be retried")
    others = select(AutomationRun.id).where(
        AutomationRun.policy == run.policy, col(AutomationRun.state).in_(sorted(OPEN))
    )
    if (other := session.exec(others).first()) is not None:
        raise ConflictError(f"retrying {run.id}: {other} of the same policy goes on", "wait for it, or stop it")
    steps, policy = steps_of(session, run.id), policy_of(session, run)
    again = retry(view_run(session, run, steps, policy), by)
    current = again.current
    if current is not None:
        steps[current.position].content_sha256 = ""
    save_run(session, run, steps, again, now, is_by_itself=False)
    note(session, run, "automation_retried", f"{run.id} of {run.policy} is tried again by {by}", now)
    return run


def _waiting(session: Session, run: AutomationRun) -> AutomationStep:
    step = next((one for one in steps_of(session, run.id) if one.state == "waiting"), None)
    if run.state != "waiting" or step is None:
        raise ConflictError(
            f"approving {run.id}: it is {run.state}, no step of it waits for approval",
            f"look at it: shoal automation explain {run.id}",
        )
    return step
