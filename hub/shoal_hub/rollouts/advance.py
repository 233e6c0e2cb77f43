"""Decides the next step of a rollout: (rollout, attempts, what is known, clock) → (new state, effects). Pure.

A wave starts when the one before has ended, was watched for its soak time, has crossed no threshold, and was let pass
by its gate and, where the plan asks for it, by a person. The last wave has a gate as well where devices are held back
to compare it with: the rollout has succeeded once it is let pass. A step is given the attempts that may change and
counts of all, so that its cost follows what has changed. Ended rollouts are still looked at while they hold leases: a
device that was away may need the artifacts when it comes back.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Final

from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem
from shoal_contract.update_policy import UpdatePolicy
from shoal_hub.rollouts.known import Known
from shoal_hub.rollouts.memory import no_memory
from shoal_hub.rollouts.observe import no_encryption_key, no_variant, observe, relapse, settle
from shoal_hub.rollouts.records import describe_outcome, name_of
from shoal_hub.rollouts.revert import ended, give_up, has_returned, has_stayed, is_waiting_to_return, revert, stay_away
from shoal_hub.rollouts.tally import OPEN, Tally, is_away
from shoal_hub.rollouts.thresholds import find_breach
from shoal_hub.rollouts.variants import choose_target
from shoal_hub.rollouts.views import (
    NEVER_SEEN,
    Advanced,
    Attempt,
    DeviceFacts,
    DropIntent,
    DropLeases,
    Effect,
    Record,
    RolloutView,
    SetIntent,
    TakeLease,
)
from shoal_hub.words import counted

_NOTHING: Final = DeviceFacts()


def advance(
    rollout: RolloutView,
    attempts: Iterable[Attempt],
    known: Known,
    now: datetime,
    new_id: Callable[[], str],
    *,
    abort_reason: str = "",
) -> Advanced:
    """Take one step; taken often enough with nothing new, it changes nothing.

    Args:
        rollout: The rollout as it is stored.
        attempts: Those of its deployments that may change, or a part of them.
        known: Counts of all deployments, what is known of the attempts' devices, and what the gate says.
        now: The clock.
        new_id: Makes deployment ids.
        abort_reason: Given, a rollout that has not ended is aborted.
    """
    step = _Step(rollout, list(attempts), known, now, new_id)
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
        self, rollout: RolloutView, attempts: list[Attempt], known: Known, now: datetime, new_id: Callable[[], str]
    ) -> None:
        self.rollout = rollout
        self.attempts = attempts
        self.effects: list[Effect] = []
        self._known = known
        self._tally = (known.tally or Tally.of(attempts)).copy()
        self._now = now
        self._new_id = new_id
        self._told_now: set[str] = set()

    def give_up_revoked(self) -> None:
        """Settle the attempts of devices that were revoked or pinned: they count neither as failed nor as succeeded."""
        self._map(self._give_up)

    def run(self, *, is_paused: bool) -> None:
        self._map(lambda attempt: self._observe(attempt, is_paused=is_paused))
        if self._is_stopped():
            return
        if not is_paused and self._may_tell():
            self._map(self._assign)
            if self._is_stopped():
                return
        if self._tally.open_until(self.rollout.current_wave):
            self.rollout = replace(self.rollout, wave_ended_at=None)
        elif self.rollout.wave_ended_at is None or self.rollout.wave_ended_at > self._now:  # the clock was set back
            self.rollout = replace(self.rollout, wave_ended_at=self._now)
        if not is_paused and self.rollout.wave_ended_at is not None:
            self._pass_gate()

    def abort(self, reason: str) -> None:
        self._end("aborted", reason)
        self._map(self._revert)
        self.effects.append(Record("rollout_aborted", f"{self._name()} is aborted: {reason}", "error"))

    def roll_back(self) -> None:
        self._map(self._revert)
        self._map(self._note_return)
        if not (self._known.has_more or self._tally.returning):
            stayed = self._tally.stayed
            self._end(
                "rolled_back", f"{counted(stayed, 'device')} could not go back" if stayed else self.rollout.reason
            )
            self.effects += [Record("rollout_rolled_back", f"{self._name()} is rolled back"), DropLeases()]

    def settle(self) -> None:
        """After the end: note who has come back, and let go of the artifacts when nobody may need them."""
        if self.rollout.state == "aborted":
            self._map(self._revert)
        self._map(self._note_return)
        self._map(self._note_answer)
        if not (self._known.has_more or self._tally.returning or self._tally.away):
            self.effects.append(DropLeases())

    def _is_stopped(self) -> bool:
        """Abort or pause, if a bound is crossed or the gate says so; return whether the step is over by that."""
        gate, rollout = self._known.gate, self.rollout
        if gate is not None and gate.verdict == "abort":
            self.abort(gate.reason)
            return True
        breach = find_breach(rollout.max_failures, rollout.plan.thresholds, rollout.fired, self._tally)
        if breach is None or (breach.action == "pause" and rollout.state == "paused"):
            return False
        reason = breach.reason + _last_problem(self.attempts)
        if breach.action == "abort":
            self.abort(reason)
            return True
        fired = {**rollout.fired, breach.number: breach.failures}
        self.rollout = replace(rollout, state="paused", reason=reason, fired=fired)
        self.effects.append(Record("rollout_paused", f"{self._name()} is paused: {reason}", "warning"))
        return True

    def _may_tell(self) -> bool:
        """Whether devices may be told now."""
        start_at = self.rollout.plan.start_at
        return not self.rollout.is_waiting_for_deltas and (start_at is None or self._now >= start_at)

    def _pass_gate(self) -> None:
        """Start the next wave, or end the rollout, if nothing speaks against it."""
        rollout, gate = self.rollout, self._known.gate
        soaks_until = rollout.soaks_until()
        is_held = gate is not None and gate.verdict == "hold" and (gate.is_due or not rollout.is_gate_passed)
        if is_held or (soaks_until is not None and self._now < soaks_until):
            return
        if rollout.is_last_wave:
            self._succeed()
        elif rollout.is_next_wave_approved:
            self._start_wave()

    def _succeed(self) -> None:
        failures, why = self._tally.failures(), self.rollout.why_no_last_gate
        self._end("succeeded", f"{counted(failures, 'device')} failed" if failures else "")
        text = f"{self._name()} runs on {counted(self._tally.succeeded, 'device')}" + (f"; {why}" if why else "")
        self.effects.append(Record("rollout_succeeded", text))

    def _start_wave(self) -> None:
        rollout = self.rollout
        wave = rollout.current_wave + 1
        self.rollout = replace(rollout, current_wave=wave, wave_ended_at=None)
        self.effects.append(Record("wave_started", f"{self._name()}: wave {wave + 1} of {rollout.wave_count}"))
        if self._may_tell():
            self._map(self._assign)
            self._is_stopped()

    def _give_up(self, attempt: Attempt) -> Attempt:
        is_waited_for = attempt.state in OPEN and attempt.wave <= self.rollout.current_wave
        if is_waited_for and self._of(attempt).is_pinned and not self._of(attempt).is_revoked:
            if self._of(attempt).is_ours:
                self.effects.append(DropIntent(attempt.device_id))
            return stay_away(attempt, self._now)
        if not (is_waited_for or is_waiting_to_return(attempt)) or not self._of(attempt).is_revoked:
            return attempt
        given_up = give_up(attempt, self._now)
        if given_up != attempt and self._of(attempt).is_ours:
            self.effects.append(DropIntent(attempt.device_id))
        return self._tell(given_up) if has_stayed(given_up) and not has_stayed(attempt) else given_up

    def _observe(self, attempt: Attempt, *, is_paused: bool) -> Attempt:
        facts = self._of(attempt)
        if attempt.state == "succeeded":
            seen = relapse(attempt, facts, self._now)._replace(seen=facts.report)
            return self._tell(seen) if seen.state == "failed" else seen
        if attempt.state not in OPEN or attempt.wave > self.rollout.current_wave:
            return attempt
        seen = observe(attempt, facts, self.rollout, self._now, is_timed=not is_paused)
        if attempt.state != "pending" and seen.seen != facts.report:
            seen = seen._replace(seen=facts.report)
        return self._tell(seen) if seen.state not in OPEN else seen

    def _assign(self, attempt: Attempt) -> Attempt:
        if attempt.state != "pending" or attempt.wave != self.rollout.current_wave:
            return attempt
        if attempt.assigned_at is None and not self._has_room():
            return attempt
        begun_at = attempt.assigned_at or self._now
        facts = self._of(attempt)
        if facts.report == NEVER_SEEN and not facts.targets:
            return attempt._replace(assigned_at=begun_at)  # it has not reported yet; its time runs
        target = choose_target(facts.targets, self.rollout.targets)
        problem = self._misfits(facts, target)
        if problem is not None:
            return self._misfit(attempt._replace(assigned_at=begun_at), problem)
        body = DesiredModel(
            version=self.rollout.version,
            target=target,
            manifest=self.rollout.manifest,
            deployment=attempt.id,
            policy=self._policy,
        )
        self._want(attempt.device_id, [TakeLease(body), SetIntent(attempt.device_id, "rollout", body)])
        former = facts.current
        version = former.version if former else None
        return attempt._replace(
            state="assigned",
            target=target,
            from_body=former,
            from_version=version,
            seen=facts.report,
            assigned_at=begun_at,
        )

    @cached_property
    def _policy(self) -> UpdatePolicy | None:
        """What is asked of the devices of this step."""
        plan, open_now = self.rollout.plan, self._tally.open_until(self.rollout.current_wave)
        return plan.update_policy(open_now if plan.max_in_flight is None else min(open_now, plan.max_in_flight))

    def _misfits(self, facts: DeviceFacts, target: str) -> Problem | None:
        """Return why a device is refused; what serves the version already has the memory for it."""
        if not target:
            return no_variant(facts.targets, self.rollout.targets)
        if self.rollout.is_encrypted and not facts.has_encryption_key:
            return no_encryption_key()
        costs, active = self.rollout.costs, facts.active
        if costs is None or (active and (active.version, active.target) == (self.rollout.version, target)):
            return None
        return no_memory(costs.predict(target, facts.hardware), facts.memory_available_bytes)

    def _has_room(self) -> bool:
        """Whether one device more may be at it."""
        most = self.rollout.plan.max_in_flight
        return most is None or self._tally.in_flight < most

    def _misfit(self, attempt: Attempt, problem: Problem) -> Attempt:
        return self._tell(attempt._replace(state="failed", problem=problem, failure="misfit", ended_at=self._now))

    def _revert(self, attempt: Attempt) -> Attempt:
        is_done = attempt.rollback_id is not None or attempt.state in {"cancelled", "rolled_back", "held_back"}
        is_left = self.rollout.state == "aborted" and self.rollout.plan.on_abort == "leave"
        if is_done or (is_left and attempt.state == "succeeded"):
            return attempt
        if attempt.target != "" and (not self._is_ours(attempt) or self._of(attempt).is_revoked):
            return ended(attempt, self._now)
        reverted, effects = revert(attempt, self._new_id, self._now)
        self._want(attempt.device_id, effects)
        return reverted

    def _note_return(self, attempt: Attempt) -> Attempt:
        if not is_waiting_to_return(attempt):
            return attempt
        facts = self._of(attempt)
        seen = has_returned(attempt, facts, self._now)._replace(seen=facts.report)
        return self._tell(seen) if has_stayed(seen) else seen

    def _note_answer(self, attempt: Attempt) -> Attempt:
        if not is_away(attempt):
            return attempt
        facts = self._of(attempt)
        return settle(attempt, facts)._replace(seen=facts.report)

    def _end(self, state: str, reason: str) -> None:
        self.rollout = replace(self.rollout, state=state, ended_at=self._now, reason=reason)  # type: ignore[arg-type]

    def _map(self, change: Callable[[Attempt], Attempt]) -> None:
        """Change attempts one after the other; the counts follow each change."""
        for index, attempt in enumerate(self.attempts):
            changed = change(attempt)
            if changed is not attempt:
                self._tally.move(attempt, changed)
                self.attempts[index] = changed

    def _want(self, device_id: str, effects: list[Effect]) -> None:
        self._told_now.add(device_id)
        self.effects += effects

    def _is_ours(self, attempt: Attempt) -> bool:
        """Whether the rollout's intent stands on the device, or was set in this very step."""
        return attempt.device_id in self._told_now or self._of(attempt).is_ours

    def _tell(self, attempt: Attempt) -> Attempt:
        self.effects.append(describe_outcome(self.rollout, attempt))
        return attempt

    def _of(self, attempt: Attempt) -> DeviceFacts:
        return self._known.devices.get(attempt.device_id, _NOTHING)

    def _name(self) -> str:
        return name_of(self.rollout)


def _last_problem(attempts: list[Attempt]) -> str:
    """Return what the last of the attempts at hand failed of, to stand behind a reason."""
    problems = [attempt.problem for attempt in attempts if attempt.failure and attempt.problem is not None]
    return f": {problems[-1].message}" if problems else ""
