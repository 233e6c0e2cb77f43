"""Reads from a device's report how its attempt goes. Pure."""

from dataclasses import replace
from datetime import datetime, timedelta

from shoal_contract.reported import Problem
from shoal_hub.rollouts.views import Attempt, DeviceFacts


def observe(attempt: Attempt, facts: DeviceFacts, version: int, now: datetime, timeout: timedelta | None) -> Attempt:
    """Return an attempt as its device's report shows it.

    Args:
        attempt: Pending, assigned or working; or succeeded, as a device may go back by itself afterwards.
        facts: The device.
        version: The version that it should serve in the end.
        now: The clock.
        timeout: How long it may take from the assignment; None while the rollout is paused.
    """
    if attempt.state == "succeeded":
        return _read_way_back(attempt, facts, now)
    told = _read_report(attempt, facts, version, now)
    if told.state in {"succeeded", "failed"}:
        return told
    if timeout is not None and attempt.assigned_at is not None and now > attempt.assigned_at + timeout:
        return replace(told, state="timed_out", ended_at=now, problem=_timeout_problem(told, timeout))
    return told


def no_variant(targets: tuple[str, ...], available: frozenset[str]) -> Problem:
    """Return the problem of a device that can run none of the version's variants."""
    return Problem(
        code="no_variant",
        message=f"it runs {', '.join(targets) or 'no target'}; variants are for {', '.join(sorted(available))}",
        remedy="compress the version for one of the device's targets and start the rollout again",
    )


def no_encryption_key() -> Problem:
    """Return the problem of a device that an encrypted version's key cannot be wrapped for."""
    return Problem(
        code="no_encryption_key",
        message="the version is encrypted, and the device has told the hub no encryption key to wrap its key for",
        remedy="start a current agent on it, which tells its key, or enrol it again; or roll out to other devices only",
    )


def _read_report(attempt: Attempt, facts: DeviceFacts, version: int, now: datetime) -> Attempt:
    section = facts.section
    if attempt.state == "pending" or section is None or section.deployment != attempt.id:
        return attempt
    active = facts.active
    if (
        section.state == "applied"
        and active is not None
        and (active.version, active.target, active.state) == (version, attempt.target, "good")
    ):
        return replace(attempt, state="succeeded", step="", problem=None, ended_at=now)
    if section.state == "failed":
        return replace(attempt, state="failed", step=section.step, problem=section.problem, ended_at=now)
    return replace(attempt, state="working", step=section.step or attempt.step, problem=section.problem)


def _read_way_back(attempt: Attempt, facts: DeviceFacts, now: datetime) -> Attempt:
    """Return a success as the failure that it has become: the version turned out bad, and the device went back."""
    section = facts.section
    if section is None or section.deployment != attempt.id or (section.state, section.step) != ("failed", "roll_back"):
        return attempt
    return replace(attempt, state="failed", step=section.step, problem=section.problem, ended_at=now)


def _timeout_problem(attempt: Attempt, timeout: timedelta) -> Problem:
    if attempt.problem is not None:
        return attempt.problem
    after = f"not done after {timeout.total_seconds():.0f} s"
    if attempt.state == "pending":
        remedy = "start its agent, then roll out to it again; or roll out to other devices only, or allow failures"
        return Problem(code="timed_out", message=f"{after}: it has never reported", remedy=remedy)
    return Problem(
        code="timed_out",
        message=f"{after}: it is at {attempt.step or attempt.state}",
        remedy="look whether the device is online and what its log says; while the rollout stands, it still converges",
    )
