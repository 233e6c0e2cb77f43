"""Decides the next step of a rollout: (rollout, attempts, facts, clock) → (new state, effects). Pure.

A wave starts when the one before has ended with no more failures than allowed; one failure more aborts the rollout,
and every device that it had told goes back to what it had. Ended rollouts are still looked at while they hold
leases: a device that was away may need the artifacts when it comes back.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem
from shoal_hub.rollouts.observe import no_encryption_key, no_variant, observe
from shoal_hub.rollouts.revert import give_up, has_returned, has_stayed, is_waiting_to_return, revert
from shoal_hub.rollouts.views import (
    Advanced,
    Attempt,
    DeviceFacts,
    DropIntent,
    DropLeases,
    Effect,
    Facts,
    Record,
    RolloutView,
    SetIntent,
    TakeLease,
)

OPEN: Final = frozenset({"pending", "assigned", "working"})
FAILED: Final = frozenset({"failed", "timed_out"})
_NOTHING: Final = DeviceFacts()


def advance(
    rollout: RolloutView,
    attempts: Iterable[Attempt],
    facts: Facts,
    now: datetime,
    new_id: Callable[[], str],
    *,
    abort_reason: str = "",
) -> Advanced:
    """Take one step; taken often enough with nothing new, it changes nothing.

    Args:
        rollout: The rollout as it is stored.
        attempts: All of its deployments.
        facts: What is known of each attempt's device.
        now: The clock.
        new_id: Makes deployment ids.
        abort_reason: Given, a rollout that has not ended is aborted.
    """
    step = _Step(rollout, list(attempts), facts, now, new_id)
    step.give_up_revoked()
    match rollout.state:
        case "running" | "paused" if abort_reason:
            step.abort(abort_reason)
        case "running":
            step.run(is_paused=False)
        case "paused":
            step.run(is_paused=True)
        case "rolling_back":
            step.roll_back()
        case _:
            step.settle()
    return Advanced(step.rollout, tuple(step.attempts), tuple(step.effects))


class _Step:
    """One call of `advance` in the making."""

    def __init__(
        self, rollout: RolloutView, attempts: list[Attempt], facts: Facts, now: datetime, new_id: Callable[[], str]
    ) -> None:
        self.rollout = rollout
        self.attempts = attempts
        self.effects: list[Effect] = []
        self._facts = facts
        self._now = now
        self._new_id = new_id

    def give_up_revoked(self) -> None:
        """Settle the attempts of devices that were revoked: they count neither as failed nor as succeeded."""
        self._map(self._give_up)

    def run(self, *, is_paused: bool) -> None:
        self._map(lambda attempt: self._observe(attempt, is_paused=is_paused))
        if not (is_paused or self.rollout.is_waiting_for_deltas):
            self._map(self._assign)
        failures = self._failures()
        if len(failures) > self.rollout.max_failures:
            self.abort(_failure_reason(failures, len(self.attempts), self.rollout.max_failures))
        elif not is_paused and self._wave_is_over():
            self._next_wave(failures)

    def abort(self, reason: str) -> None:
        self._end("aborted", reason)
        self._map(self._revert)
        self.effects.append(Record("rollout_aborted", f"{self._name()} is aborted: {reason}", "error"))

    def roll_back(self) -> None:
        self._map(self._revert)
        self._map(self._note_return)
        if not any(is_waiting_to_return(attempt) for attempt in self.attempts):
            stayed = sum(has_stayed(attempt) for attempt in self.attempts)
            self._end("rolled_back", f"{stayed} devices could not go back" if stayed else self.rollout.reason)
            self.effects += [Record("rollout_rolled_back", f"{self._name()} is rolled back"), DropLeases()]

    def settle(self) -> None:
        """After the end: note who has come back, and let go of the artifacts when nobody may need them."""
        self._map(self._note_return)
        if not any(self._may_need_artifacts(attempt) for attempt in self.attempts):
            self.effects.append(DropLeases())

    def _give_up(self, attempt: Attempt) -> Attempt:
        is_waited_for = attempt.state in OPEN and attempt.wave <= self.rollout.current_wave
        if not (is_waited_for or is_waiting_to_return(attempt)) or not self._of(attempt).is_revoked:
            return attempt
        given_up = give_up(attempt, self._now)
        if given_up != attempt and self._of(attempt).is_ours:
            self.effects.append(DropIntent(attempt.device_id))
        return self._tell(given_up) if has_stayed(given_up) and not has_stayed(attempt) else given_up

    def _observe(self, attempt: Attempt, *, is_paused: bool) -> Attempt:
        if attempt.state not in OPEN or attempt.wave > self.rollout.current_wave:
            return attempt
        timeout = None if is_paused else timedelta(seconds=self.rollout.timeout_s)
        seen = observe(attempt, self._of(attempt), self.rollout.version, self._now, timeout)
        return self._tell(seen) if seen.state not in OPEN else seen

    def _assign(self, attempt: Attempt) -> Attempt:
        if attempt.state != "pending" or attempt.wave != self.rollout.current_wave:
            return attempt
        attempt = replace(attempt, assigned_at=attempt.assigned_at or self._now)
        facts = self._of(attempt)
        if not facts.targets:
            return attempt  # it has not reported yet; its time runs
        target = next((one for one in facts.targets if one in self.rollout.targets), None)
        if target is None:
            return self._misfit(attempt, no_variant(facts.targets, self.rollout.targets))
        if self.rollout.is_encrypted and not facts.has_encryption_key:
            return self._misfit(attempt, no_encryption_key())
        body = DesiredModel(
            version=self.rollout.version, target=target, manifest=self.rollout.manifest, deployment=attempt.id
        )
        self.effects += [TakeLease(body), SetIntent(attempt.device_id, "rollout", body)]
        return replace(
            attempt,
            state="assigned",
            target=target,
            from_body=facts.current,
            from_version=facts.current.version if facts.current else None,
        )

    def _misfit(self, attempt: Attempt, problem: Problem) -> Attempt:
        return self._tell(replace(attempt, state="failed", problem=problem, ended_at=self._now))

    def _next_wave(self, failures: list[Attempt]) -> None:
        if self.rollout.current_wave + 1 < self.rollout.wave_count:
            wave = self.rollout.current_wave + 1
            self.rollout = replace(self.rollout, current_wave=wave)
            self.effects.append(Record("wave_started", f"{self._name()}: wave {wave + 1} of {self.rollout.wave_count}"))
            self._map(self._assign)
            return
        succeeded = sum(attempt.state == "succeeded" for attempt in self.attempts)
        self._end("succeeded", f"{len(failures)} devices failed" if failures else "")
        self.effects.append(Record("rollout_succeeded", f"{self._name()} runs on {succeeded} devices"))

    def _revert(self, attempt: Attempt) -> Attempt:
        is_done = attempt.rollback_id is not None or attempt.state in {"cancelled", "rolled_back"}
        is_taken_over = attempt.target != "" and not self._is_ours(attempt)
        is_gone = attempt.target != "" and self._of(attempt).is_revoked
        if is_done or is_taken_over or is_gone:
            return attempt
        reverted, effects = revert(attempt, self._new_id, self._now)
        self.effects += effects
        return reverted

    def _note_return(self, attempt: Attempt) -> Attempt:
        if not is_waiting_to_return(attempt):
            return attempt
        seen = has_returned(attempt, self._of(attempt), self._now)
        return self._tell(seen) if has_stayed(seen) else seen

    def _wave_is_over(self) -> bool:
        return not any(one.state in OPEN for one in self.attempts if one.wave <= self.rollout.current_wave)

    def _may_need_artifacts(self, attempt: Attempt) -> bool:
        """Whether a device was told and has not said how it went: its intent stands, and it may come back."""
        facts = self._of(attempt)
        if attempt.rollback_id is not None or facts.is_revoked:
            return is_waiting_to_return(attempt)
        is_told = attempt.state == "timed_out" and attempt.target != "" and facts.is_ours
        section = facts.section
        has_answered = (
            section is not None and section.deployment == attempt.id and section.state in {"applied", "failed"}
        )
        return is_told and not has_answered

    def _failures(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.state in FAILED]

    def _end(self, state: str, reason: str) -> None:
        self.rollout = replace(self.rollout, state=state, ended_at=self._now, reason=reason)  # type: ignore[arg-type]

    def _map(self, change: Callable[[Attempt], Attempt]) -> None:
        self.attempts = [change(attempt) for attempt in self.attempts]

    def _is_ours(self, attempt: Attempt) -> bool:
        """Whether the rollout's intent stands on the device, or was set in this very step."""
        is_set_now = any(isinstance(one, SetIntent) and one.device_id == attempt.device_id for one in self.effects)
        return is_set_now or self._of(attempt).is_ours

    def _tell(self, attempt: Attempt) -> Attempt:
        self.effects.append(_outcome(self._name(), attempt))
        return attempt

    def _of(self, attempt: Attempt) -> DeviceFacts:
        return self._facts.get(attempt.device_id, _NOTHING)

    def _name(self) -> str:
        return f"rollout {self.rollout.id} of {self.rollout.model} version {self.rollout.version}"


def _failure_reason(failures: list[Attempt], devices: int, allowed: int) -> str:
    problem = failures[-1].problem
    detail = f": {problem.message}" if problem else ""
    return f"{len(failures)} of {devices} devices failed, {allowed} allowed{detail}"


def _outcome(name: str, attempt: Attempt) -> Record:
    if attempt.state == "succeeded":
        return Record("deployment_succeeded", f"{name}: it serves on {attempt.device_id}", "info", attempt.device_id)
    text = attempt.problem.message if attempt.problem else attempt.state
    if has_stayed(attempt):
        return Record(
            "rollback_failed", f"{name}: {attempt.device_id} can not go back: {text}", "error", attempt.device_id
        )
    return Record("deployment_failed", f"{name}: {attempt.device_id}: {text}", "error", attempt.device_id)
