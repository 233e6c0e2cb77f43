"""An operator's commands on a rollout: pause, resume, approve, abort, roll back. The controller carries them out."""

from datetime import datetime, timedelta

from sqlmodel import Session, col, select, update

from shoal_hub.database import announce
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.errors import ConflictError
from shoal_hub.events.record import record_event
from shoal_hub.rollouts.gate import waits_for_person
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.reconcile import step_rollout, view_rollout
from shoal_hub.rollouts.request import RolloutAgain, RolloutPlan
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.tracing.remembered import remember


def pause(session: Session, rollout: Rollout, *, by: str, now: datetime) -> None:
    """Let no further device begin; those that have begun go on, and their time stands still.

    Raises:
        ConflictError: It is not running.
    """
    _require(rollout, "pause", {"running"})
    rollout.paused_at = now
    _move(session, rollout, "paused", f"paused by {by}")


def resume(session: Session, rollout: Rollout, *, by: str, now: datetime) -> None:
    """Go on with a paused rollout.

    The time of open deployments starts anew; of a wave's soak time and its gate's, what was left at the pause runs on.

    Raises:
        ConflictError: It is not paused.
    """
    _require(rollout, "resume", {"paused"})
    is_open = col(Deployment.state).in_(("pending", "assigned", "working"))
    statement = update(Deployment).where(
        col(Deployment.rollout_id) == rollout.id, is_open, col(Deployment.assigned_at).is_not(None)
    )
    session.connection().execute(statement.values(assigned_at=now))
    session.expire_all()
    if rollout.wave_ended_at is not None:
        stood_since = max(rollout.paused_at or rollout.wave_ended_at, rollout.wave_ended_at)
        rollout.wave_ended_at += max(now - stood_since, timedelta(0))
    rollout.paused_at = None
    _move(session, rollout, "running", f"resumed by {by}")


def approve_wave(
    session: Session, rollout: Rollout, wave: int, *, by: str, now: datetime, is_past_gate: bool = False
) -> None:
    """Let a rollout's next wave start, or a wave past its gate that was undecided for its time.

    Args:
        session: An open transaction.
        rollout: The rollout, locked.
        wave: The wave that is meant, from 0: what was looked at was the end of the one before it.
        by: Who approves.
        now: The clock.
        is_past_gate: Whether what is approved is to pass the gate of the wave before it.

    Raises:
        ConflictError: The rollout does not wait for the approval of this wave.
    """
    is_at_gate = require_waiting_wave(session, rollout, now)
    if wave != rollout.current_wave + 1 or is_past_gate != is_at_gate:
        raise ConflictError(
            f"approving wave {wave + 1} of rollout {rollout.id}: it waits for wave {rollout.current_wave + 2}",
            f"look at it again: shoal rollouts show {rollout.id}",
        )
    rollout.approved_wave = wave
    text = f"wave {wave + 1} of rollout {rollout.id} is approved by {by}"
    if is_past_gate:
        rollout.gate_passed_wave = rollout.current_wave
        text = f"wave {wave} of rollout {rollout.id} is let past its undecided gate by {by}"
    session.add(rollout)
    remember(session, owner_of(rollout.id))
    record_event(session, "wave_approved", text, subject=owner_of(rollout.id))
    announce(session, "rollouts")


def require_waiting_wave(session: Session, rollout: Rollout, now: datetime) -> bool:
    """See that a rollout waits for a person; return whether it is at its gate, else it is before its next wave.

    Raises:
        ConflictError: It does not.
    """
    _require(rollout, "approve", {"running", "paused"})
    if waits_for_person(session, view_rollout(session, rollout, now), now):
        return True
    asks = RolloutPlan.model_validate(rollout.plan).wave_approval
    is_over = rollout.wave_ended_at is not None and rollout.current_wave + 1 < len(rollout.waves)
    if not (asks and is_over) or rollout.approved_wave > rollout.current_wave:
        why = "its wave has not ended" if asks and not is_over else "no wave of it waits for approval"
        raise ConflictError(
            f"cannot approve rollout {rollout.id}: {why}",
            "waves wait for it where the rollout was started with --wave-approval, each until the one before has "
            "ended, and where a gate was undecided for its time",
        )
    return False


def abort(session: Session, rollout: Rollout, *, by: str, now: datetime) -> None:
    """End a rollout and take every device that it had told back to what it had.

    Raises:
        ConflictError: It has ended.
    """
    _require(rollout, "abort", {"running", "paused"})
    remember(session, owner_of(rollout.id))
    step_rollout(session, rollout.id, now, abort_reason=f"aborted by {by}")


def plan_again(session: Session, rollout: Rollout) -> RolloutAgain:
    """Return the request that undoes a rollback: the same version by the same plan to the same devices.

    Those that had joined it late do so again: who is compared at a gate stays as it was drawn.

    Raises:
        ConflictError: The rollout was not taken back.
    """
    _require(rollout, "forward", {"aborted", "rolling_back", "rolled_back"})
    wanted = select(Deployment.device_id, Deployment.is_late_joiner)
    joined = wanted.join(Device, col(Device.id) == col(Deployment.device_id))
    mine = joined.where(Deployment.rollout_id == rollout.id, col(Device.revoked_at).is_(None))
    found = session.exec(mine.order_by(col(Deployment.wave), col(Deployment.device_id))).all()
    late = [device_id for device_id, is_late in found if is_late]
    devices = [device_id for device_id, is_late in found if not is_late]
    if not devices:  # nobody of those that were drawn is left
        devices, late = late, []
    same = {"model": rollout.model, "version": str(rollout.version), "seed": rollout.seed}
    same |= {"devices": devices, "late": late}
    by_list = {"group": None, "query": None, "late_joiners": "ignore", "is_shuffled": False}
    # Before there were plans, these three were all of one.
    bare = {"waves": rollout.waves, "max_failures": rollout.max_failures, "timeout_s": rollout.timeout_s}
    return RolloutAgain.model_validate((rollout.plan or bare) | by_list | same)


def roll_back(session: Session, rollout: Rollout, *, by: str, now: datetime) -> None:
    """Take every device of a rollout back to what it had before.

    Raises:
        ConflictError: It is on its way back or was aborted, or a later rollout has taken over all of its devices.
    """
    is_left = RolloutPlan.model_validate(rollout.plan).on_abort == "leave"
    _require(rollout, "rollback", {"running", "paused", "succeeded", *({"aborted"} if is_left else ())})
    ours = session.exec(select(Intent.id).where(Intent.owner == owner_of(rollout.id))).first()
    if ours is None and rollout.state == "succeeded":
        raise ConflictError(
            f"rolling back {rollout.id}: a later rollout has taken over all of its devices",
            f"roll that one back: shoal rollouts list --model {rollout.model}",
        )
    rollout.ended_at = None
    _move(session, rollout, "rolling_back", f"rolled back by {by}")
    session.flush()
    step_rollout(session, rollout.id, now)


def _require(rollout: Rollout, command: str, states: set[str]) -> None:
    if rollout.state not in states:
        raise ConflictError(
            f"cannot {command} rollout {rollout.id}: it is {rollout.state}",
            f"a rollout can do that while it is {' or '.join(sorted(states))}",
        )


def _move(session: Session, rollout: Rollout, state: str, reason: str) -> None:
    remember(session, owner_of(rollout.id))
    rollout.state, rollout.reason = state, reason  # type: ignore[assignment]
    session.add(rollout)
    record_event(session, f"rollout_{state}", f"rollout {rollout.id} {reason}", subject=owner_of(rollout.id))
    announce(session, "rollouts")
