"""Takes one device back to what it had before the rollout, and sees when it is there. Pure."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from shoal_hub.rollouts.views import Attempt, DeviceFacts, DropIntent, Effect, SetIntent, TakeLease


def revert(attempt: Attempt, new_id: Callable[[], str], now: datetime) -> tuple[Attempt, list[Effect]]:
    """Return the attempt on its way back, and what that takes; one whose device was never told is cancelled.

    The way back is an attempt of its own with an id of its own: had the device failed at that version before under
    the old id, it would not try again.
    """
    if attempt.target == "":
        return _ended(attempt, now), []
    rollback_id = new_id()
    reverted = replace(_ended(attempt, now), rollback_id=rollback_id)
    if attempt.from_body is None:
        return reverted, [DropIntent(attempt.device_id)]
    body = attempt.from_body.model_copy(update={"deployment": rollback_id})
    return reverted, [TakeLease(body), SetIntent(attempt.device_id, "rollback", body)]


def is_waiting_to_return(attempt: Attempt) -> bool:
    """Whether the device was told to go back and has not said that it did."""
    return attempt.rollback_id is not None and attempt.state != "rolled_back"


def has_returned(attempt: Attempt, facts: DeviceFacts, now: datetime) -> Attempt:
    """Return the attempt as rolled back if the device says so, or if a later rollout has taken the device over."""
    section = facts.section
    if attempt.from_body is None:
        is_back = section is None or section.deployment != attempt.id
    elif not facts.is_ours:
        is_back = True
    else:
        is_ours = section is not None and section.deployment == attempt.rollback_id
        is_back = is_ours and section is not None and section.state == "applied"
        if is_ours and section is not None and section.state == "failed":
            return replace(attempt, problem=section.problem)
    return replace(attempt, state="rolled_back", ended_at=now) if is_back else attempt


def _ended(attempt: Attempt, now: datetime) -> Attempt:
    is_open = attempt.state in {"pending", "assigned", "working"}
    return replace(attempt, state="cancelled", ended_at=now) if is_open else attempt
