"""An operator's commands on a rollout: pause, resume, abort, roll back. The controller carries them out."""

from datetime import datetime

from sqlmodel import Session, col, select, update

from shoal_hub.database import announce
from shoal_hub.devices.tables import Intent
from shoal_hub.errors import ConflictError
from shoal_hub.events.record import record_event
from shoal_hub.rollouts.facts import owner_of
from shoal_hub.rollouts.reconcile import step_rollout
from shoal_hub.rollouts.tables import Deployment, Rollout


def pause(session: Session, rollout: Rollout, *, by: str) -> None:
    """Let no further device begin; those that have begun go on, and their time stands still.

    Raises:
        ConflictError: It is not running.
    """
    _require(rollout, "pause", {"running"})
    _move(session, rollout, "paused", f"paused by {by}")


def resume(session: Session, rollout: Rollout, *, by: str, now: datetime) -> None:
    """Go on with a paused rollout; the time of open deployments starts anew.

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
    _move(session, rollout, "running", f"resumed by {by}")


def abort(session: Session, rollout: Rollout, *, by: str, now: datetime) -> None:
    """End a rollout and take every device that it had told back to what it had.

    Raises:
        ConflictError: It has ended.
    """
    _require(rollout, "abort", {"running", "paused"})
    step_rollout(session, rollout.id, now, abort_reason=f"aborted by {by}")


def roll_back(session: Session, rollout: Rollout, *, by: str, now: datetime) -> None:
    """Take every device of a rollout back to what it had before.

    Raises:
        ConflictError: It is on its way back or was aborted, or a later rollout has taken over all of its devices.
    """
    _require(rollout, "rollback", {"running", "paused", "succeeded"})
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
    rollout.state, rollout.reason = state, reason  # type: ignore[assignment]
    session.add(rollout)
    record_event(session, f"rollout_{state}", f"rollout {rollout.id} {reason}", subject=owner_of(rollout.id))
    announce(session, "rollouts")
