"""Takes one device back to what it had before the rollout, and sees when it is there. Pure."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from shoal_contract.reported import Problem
from shoal_hub.rollouts.views import NEVER_SEEN, Attempt, DeviceFacts, DropIntent, Effect, SetIntent, TakeLease

WAY_BACK: Final = "roll_back"
"""The step of an attempt that has failed on the way back, not on the way there."""

_OPEN: Final = frozenset({"pending", "assigned", "working"})
_REVOKED: Final = Problem(code="revoked", message="the device was revoked", remedy="enrol the board again as a new one")
_PINNED: Final = Problem(
    code="pinned",
    message="the device was pinned to a version while the rollout ran",
    remedy="let it go (shoal devices unpin) and roll out to it again, or leave it where it is",
)


def revert(attempt: Attempt, new_id: Callable[[], str], now: datetime) -> tuple[Attempt, list[Effect]]:
    """Return the attempt on its way back, and what that takes; one whose device was never told is cancelled.

    The way back is an attempt of its own with an id of its own: had the device failed at that version before under
    the old id, it would not try again. It has no policy: windows and expiry were for the way there.
    """
    if attempt.target == "":
        return ended(attempt, now), []
    rollback_id = new_id()
    reverted = ended(attempt, now)._replace(rollback_id=rollback_id, step="", waits_for="", seen=NEVER_SEEN)
    if attempt.from_body is None:
        return reverted, [DropIntent(attempt.device_id)]
    body = attempt.from_body.model_copy(update={"deployment": rollback_id, "policy": None})
    return reverted, [TakeLease(body), SetIntent(attempt.device_id, "rollback", body)]


def is_waiting_to_return(attempt: Attempt) -> bool:
    """Whether the device was told to go back and has not said how that went."""
    return attempt.rollback_id is not None and attempt.state != "rolled_back" and not has_stayed(attempt)


def has_stayed(attempt: Attempt) -> bool:
    """Whether the device could not go back: it does not try again under the same id, so nobody waits for it."""
    return attempt.rollback_id is not None and (attempt.state, attempt.step) == ("failed", WAY_BACK)


def has_returned(attempt: Attempt, facts: DeviceFacts, now: datetime) -> Attempt:
    """Return the attempt as rolled back if the device says so, or if a later rollout has taken the device over.

    A device that says that it could not go back has failed.
    """
    section = facts.section
    if attempt.from_body is None:
        is_back = section is None or section.deployment != attempt.id or facts.is_pinned
    elif not facts.is_ours or facts.is_pinned:
        is_back = True
    else:
        is_ours = section is not None and section.deployment == attempt.rollback_id
        is_back = is_ours and section is not None and section.state == "applied"
        if is_ours and section is not None and section.state == "failed":
            return attempt._replace(state="failed", step=WAY_BACK, problem=section.problem, ended_at=now)
    return attempt._replace(state="rolled_back", ended_at=now) if is_back else attempt


def stay_away(attempt: Attempt, now: datetime) -> Attempt:
    """Return the open attempt of a device that was pinned meanwhile as cancelled: it stays where its pin says."""
    return ended(attempt, now)._replace(problem=_PINNED) if attempt.state in _OPEN else attempt


def give_up(attempt: Attempt, now: datetime) -> Attempt:
    """Return the attempt of a device that was revoked: cancelled, or on the way back failed, as nobody comes back."""
    if is_waiting_to_return(attempt):
        return attempt._replace(state="failed", step=WAY_BACK, problem=_REVOKED, ended_at=now)
    return ended(attempt, now)._replace(problem=_REVOKED) if attempt.state in _OPEN else attempt


def ended(attempt: Attempt, now: datetime) -> Attempt:
    """Return the attempt as cancelled, if it has not ended."""
    return attempt._replace(state="cancelled", ended_at=now) if attempt.state in _OPEN else attempt
