"""When an attempt's time is over: one rule, for the decision on one attempt and for the search among many. Pure.

An attempt has `timeout_s`; while its device waits, for its window or its owner, it has `hold_timeout_s`, and never ends
before the plan's `activate_at` has had its `timeout_s`.
"""

from datetime import datetime, timedelta

from shoal_hub.rollouts.views import RolloutView


def ends_at(rollout: RolloutView, since: datetime, *, is_held: bool) -> datetime:
    """Return when the time of an attempt is over.

    Args:
        rollout: The rollout.
        since: When its time began.
        is_held: Whether its device waits.
    """
    usual, held = _times(rollout)
    if not is_held:
        return since + usual
    activate_at = rollout.plan.policy.activate_at
    return since + held if activate_at is None else max(since + held, activate_at + usual)


def begun_before(rollout: RolloutView, now: datetime, *, is_held: bool) -> datetime | None:
    """Return before which time an attempt has to have begun for its time to be over now, by `ends_at`.

    None where no attempt's time is over.
    """
    usual, held = _times(rollout)
    if not is_held:
        return now - usual
    activate_at = rollout.plan.policy.activate_at
    return None if activate_at is not None and now <= activate_at + usual else now - held


def _times(rollout: RolloutView) -> tuple[timedelta, timedelta]:
    usual = timedelta(seconds=rollout.timeout_s)
    return usual, max(usual, timedelta(seconds=rollout.plan.hold_timeout_s))
