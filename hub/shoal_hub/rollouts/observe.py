"""Reads from a device's report how its attempt goes. Pure."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from shoal_contract.reported import Problem, SlotReport
from shoal_hub.rollouts.failures import cause_of
from shoal_hub.rollouts.patience import ends_at
from shoal_hub.rollouts.views import Attempt, DeviceFacts, RolloutView

WAITS: Final = frozenset({"window", "veto", "activate_at", "budget"})
"""What a device holds a version back for: its policy, its owner's word, its month's bytes. Its time does not run."""
_DOWNLOADED: Final = "downloaded"


def observe(attempt: Attempt, facts: DeviceFacts, rollout: RolloutView, now: datetime, *, is_timed: bool) -> Attempt:
    """Return an open attempt as its device's report shows it.

    Args:
        attempt: Pending, assigned or working.
        facts: The device.
        rollout: What it should come to, and how long it may take.
        now: The clock.
        is_timed: Whether its time runs, as it does not while the rollout is paused.
    """
    told = _follow_wait(attempt, _read_report(attempt, facts, rollout, now), now)
    if told.state in {"succeeded", "failed"} or not is_timed or told.assigned_at is None:
        return told
    over_at = ends_at(rollout, told.assigned_at, is_held=told.waits_for != "")
    if now <= over_at:
        return told
    # Of a step a device may tell by an event alone, long before it reports its state.
    has_answered = told.state == "working" or (facts.section is not None and facts.section.deployment == attempt.id)
    if not has_answered and told.tries < rollout.plan.offline_attempts:
        return told._replace(tries=told.tries + 1, assigned_at=now)
    return told._replace(state="timed_out", failure="timed_out", ended_at=now, problem=_timeout_problem(told, over_at))


def relapse(attempt: Attempt, facts: DeviceFacts, now: datetime) -> Attempt:
    """Return an attempt that had succeeded as failed, if its device says so after all: it went back by itself."""
    section = facts.section
    if section is None or section.deployment != attempt.id or section.state != "failed":
        return attempt
    cause = cause_of(section.step, section.problem)
    return attempt._replace(state="failed", step=section.step, problem=section.problem, failure=cause, ended_at=now)


def settle(attempt: Attempt, facts: DeviceFacts) -> Attempt:
    """Return an attempt that ran out of time as settled, if its device needs nothing any more for it."""
    section = facts.section
    has_answered = section is not None and section.deployment == attempt.id and section.state in {"applied", "failed"}
    return attempt._replace(is_settled=has_answered or facts.is_revoked or not facts.is_ours)


def no_variant(targets: tuple[str, ...], available: Collection[str]) -> Problem:
    """Return the problem of a device that can run none of the version's variants."""
    return Problem(
        code="no_variant",
        message=f"it runs {', '.join(targets) or 'no target'}; variants are for {', '.join(sorted(available))}",
        remedy="compress the version for one of the device's targets and start again",
    )


def no_encryption_key() -> Problem:
    """Return the problem of a device that an encrypted version's key cannot be wrapped for."""
    return Problem(
        code="no_encryption_key",
        message="the version is encrypted, and the device has told the hub no encryption key to wrap its key for",
        remedy="start a current agent on it, which tells its key, or enrol it again; or roll out to other devices only",
    )


def _read_report(attempt: Attempt, facts: DeviceFacts, rollout: RolloutView, now: datetime) -> Attempt:
    section = facts.section
    if attempt.state == "pending" or section is None or section.deployment != attempt.id:
        return attempt
    is_staged = rollout.plan.policy.download_only and section.step == _DOWNLOADED
    is_serving = _is(facts.active, rollout, attempt, state="good")
    if section.state == "applied" and (is_serving or (is_staged and _is(facts.candidate, rollout, attempt))):
        return attempt._replace(state="succeeded", step="", problem=None, ended_at=now)
    if section.state == "failed":
        cause = cause_of(section.step, section.problem)
        return attempt._replace(state="failed", step=section.step, problem=section.problem, failure=cause, ended_at=now)
    step = section.step or attempt.step
    if (attempt.state, attempt.step, attempt.problem) == ("working", step, section.problem):
        return attempt
    return attempt._replace(state="working", step=step, problem=section.problem)


def _is(slot: SlotReport | None, rollout: RolloutView, attempt: Attempt, *, state: str = "") -> bool:
    if slot is None or (state and slot.state != state):
        return False
    return (slot.version, slot.target) == (rollout.version, attempt.target)


def _follow_wait(before: Attempt, told: Attempt, now: datetime) -> Attempt:
    """Note what the device waits for; its own time begins anew when it waits no more."""
    is_out_of_budget = told.problem is not None and told.problem.code == "budget"
    step = "budget" if is_out_of_budget else told.step
    waits_for = step if told.state == "working" and step in WAITS else ""
    if before.waits_for and not waits_for:
        return told._replace(waits_for="", assigned_at=now)
    return told._replace(waits_for=waits_for) if told.waits_for != waits_for else told


def _timeout_problem(attempt: Attempt, over_at: datetime) -> Problem:
    if attempt.problem is not None:
        return attempt.problem
    took_s = (over_at - (attempt.assigned_at or over_at)).total_seconds()
    after = f"not done after {took_s:.0f} s"
    if attempt.tries > 1:
        after = f"{after} in each of {attempt.tries} tries"
    if attempt.state == "pending":
        remedy = "start its agent, then roll out to it again; or roll out to other devices only, or allow failures"
        return Problem(code="timed_out", message=f"{after}: it has never reported", remedy=remedy)
    return Problem(
        code="timed_out",
        message=f"{after}: it is at {attempt.step or attempt.state}",
        remedy="look whether the device is online and what its log says; while the rollout stands, it still converges",
    )
