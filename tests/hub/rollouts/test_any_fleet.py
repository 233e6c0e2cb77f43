"""The decision on a rollout as a state machine: any order of reports, time, commands and late joiners is survived."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.hub.rollouts.test_advance import ROLLOUT, TARGET, Fleet
from tests.simulators.rows import section

from shoal_contract.reported import Problem
from shoal_contract.update_policy import MaintenanceWindow, UpdatePolicy
from shoal_hub.rollouts.advance import advance
from shoal_hub.rollouts.known import Known
from shoal_hub.rollouts.request import RolloutPlan, Threshold
from shoal_hub.rollouts.revert import is_waiting_to_return
from shoal_hub.rollouts.tally import FAILED, OPEN, Tally, is_away
from shoal_hub.rollouts.views import Attempt, DeviceFacts, GateResult, SetIntent

ENDED = {"succeeded", "aborted", "rolled_back"}
FORWARD = {
    "pending": {"assigned", "failed", "timed_out", "cancelled"},
    "assigned": {"working", "succeeded", "failed", "timed_out", "cancelled", "rolled_back"},
    "working": {"succeeded", "failed", "timed_out", "cancelled", "rolled_back"},
    "succeeded": {"failed", "rolled_back"},
    "failed": {"rolled_back"},
    "timed_out": {"rolled_back", "failed"},
    "cancelled": {"rolled_back", "failed"},
    "rolled_back": set(),
    "held_back": set(),
}
"""Into what each state of a deployment may turn in one step."""
PLANS = st.builds(
    RolloutPlan,
    max_in_flight=st.sampled_from([None, 1, 2]),
    soak_s=st.sampled_from([0, 50]),
    wave_approval=st.booleans(),
    thresholds=st.lists(
        st.builds(
            Threshold,
            percent=st.sampled_from([1, 40, 90]),
            min_executed=st.integers(1, 3),
            action=st.sampled_from(["abort", "pause"]),
        ),
        max_size=2,
    ),
    max_failures=st.sampled_from([None, 0, 1]),
    on_abort=st.sampled_from(["roll_back", "leave"]),
    offline_attempts=st.integers(1, 2),
    hold_timeout_s=st.just(5000),
    policy=st.sampled_from([UpdatePolicy(), UpdatePolicy(windows=(MaintenanceWindow(start="02:00", minutes=60),))]),
)


class PartOfFleet(Fleet):
    """A fleet whose steps are given a part of the attempts at a time, as one of 100,000 devices is."""

    batch = 1000

    def take(self, abort_reason: str = "") -> bool:
        """Take one step with the attempts that may change, at most `batch` of them; return whether anything changed."""
        tally = Tally.of(self.attempts)
        due = self._due(is_aborting=abort_reason != "")
        part = due[: self.batch]
        known = Known(self.facts, tally, self.gate, has_more=len(due) > len(part))
        before = self.rollout
        done = advance(before, part, known, self.now, lambda: next(self.ids), abort_reason=abort_reason)
        self.rollout = done.rollout
        changed = {one.id: one for one in done.attempts}
        self.check_moves(part, changed)
        is_new = done.rollout != before or any(changed[one.id] != one for one in part)
        self.attempts = [changed.get(one.id, one) for one in self.attempts]
        for effect in done.effects:
            self.check_told(effect)
            self.apply(effect)
        return is_new

    def step(self, abort_reason: str = "") -> Any:
        for _ in range(500):
            if not self.take(abort_reason):
                return
            abort_reason = ""
        raise AssertionError("it does not come to rest")

    def check_moves(self, before: list[Attempt], after: dict[str, Attempt]) -> None:
        for one in before:
            state = after[one.id].state
            assert state == one.state or state in FORWARD[one.state], (one.state, state)

    def check_told(self, effect: object) -> None:
        """No device is told the version outside of its wave, nor one that is held back at all."""
        if isinstance(effect, SetIntent) and effect.kind == "rollout":
            (attempt,) = (one for one in self.attempts if one.device_id == effect.device_id)
            assert attempt.state != "held_back"
            assert attempt.wave <= self.rollout.current_wave

    def _due(self, *, is_aborting: bool) -> list[Attempt]:
        """Return the attempts that a step may change, as `work.find_work` selects them."""
        if self.rollout.has_begun and not is_aborting:
            room = self.rollout.plan.max_in_flight or len(self.attempts)
            fresh = [one for one in self.attempts if self._is_fresh(one)][: room - Tally.of(self.attempts).in_flight]
            return [one for one in self.attempts if self._is_on_the_way(one) or one in fresh]
        is_reverting = is_aborting or self.rollout.state in {"aborted", "rolling_back"}
        return [one for one in self.attempts if self._is_back(one) or (is_reverting and self._is_to_revert(one))]

    def _is_fresh(self, one: Attempt) -> bool:
        is_in_turn = (one.state, one.wave) == ("pending", self.rollout.current_wave)
        return is_in_turn and one.assigned_at is None and self.rollout.state == "running"

    def _is_on_the_way(self, one: Attempt) -> bool:
        facts, is_timed = self.facts[one.device_id], self.rollout.state == "running"
        is_late = False
        if is_timed and one.assigned_at is not None:
            usual, held = timedelta(seconds=self.rollout.timeout_s), timedelta(seconds=self.rollout.plan.hold_timeout_s)
            is_late = one.assigned_at < self.now - (held if one.waits_for else usual)
        match one.state:
            case "assigned" | "working":
                return facts.report != one.seen or facts.is_revoked or is_late
            case "pending" if one.assigned_at is not None:
                return (is_timed and facts.targets != ()) or facts.is_revoked or is_late
            case "succeeded":
                return facts.report != one.seen
            case _:
                return False

    def _is_to_revert(self, one: Attempt) -> bool:
        facts = self.facts[one.device_id]
        is_left = self.rollout.state != "rolling_back" and self.rollout.plan.on_abort == "leave"
        told = FAILED if is_left else FAILED | {"succeeded"}
        is_told = one.state in told and one.target != "" and facts.is_ours and not facts.is_revoked
        return one.rollback_id is None and (one.state in OPEN or is_told)

    def _is_back(self, one: Attempt) -> bool:
        facts = self.facts[one.device_id]
        is_gone = facts.is_revoked or (not facts.is_ours and (one.from_body is not None or is_away(one)))
        return (is_waiting_to_return(one) or is_away(one)) and (facts.report != one.seen or is_gone)


class AnyFleet(RuleBasedStateMachine):
    """Devices report, wait, fail, are revoked, stay away; people command; the gate speaks; the clock runs."""

    @initialize(
        waves=st.lists(st.integers(1, 3), min_size=1, max_size=3),
        plan=PLANS,
        held_back=st.integers(0, 2),
        batch=st.sampled_from([1, 2, 1000]),
    )
    def begin(self, waves: list[int], plan: RolloutPlan, held_back: int, batch: int) -> None:
        rollout = replace(ROLLOUT, plan=plan, max_failures=plan.failures_allowed, timeout_s=600.0)
        self.fleet = PartOfFleet(waves, rollout)
        self.fleet.batch = batch
        for number in range(held_back):
            self._add(f"back-{number}", len(waves), "held_back")

    @rule(index=st.integers(0, 9), state=st.sampled_from(["applied", "working", "failed"]))
    def report(self, index: int, state: str) -> None:
        problem = Problem(code="probe", message="no", remedy="-") if state == "failed" else None
        self.fleet.report(index % len(self.fleet.attempts), state, problem)

    @rule(index=st.integers(0, 9), step=st.sampled_from(["window", "veto"]))
    def hold(self, index: int, step: str) -> None:
        attempt = self.fleet.attempts[index % len(self.fleet.attempts)]
        body = self.fleet.intents.get(attempt.device_id)
        if body is not None:
            facts = self.fleet.facts[attempt.device_id]
            report = section("held", body.deployment, step=step)
            at = (1, facts.report[1] + 1)
            self.fleet.facts[attempt.device_id] = facts._replace(section=report, report=at)

    @rule(index=st.integers(0, 9), runs=st.sampled_from([(), (TARGET,), ("esp32",)]))
    def change_targets(self, index: int, runs: tuple[str, ...]) -> None:
        self._change(index, targets=runs)

    @rule(index=st.integers(0, 9))
    def revoke(self, index: int) -> None:
        self._change(index, is_revoked=True)

    @precondition(lambda self: self.fleet.rollout.state in ENDED | {"rolling_back"})
    @rule(index=st.integers(0, 9))
    def take_over(self, index: int) -> None:
        """A later rollout wants something else of a device."""
        attempt = self.fleet.attempts[index % len(self.fleet.attempts)]
        self._change(index, is_ours=False)
        self.fleet.intents.pop(attempt.device_id, None)

    @rule()
    def step(self) -> None:
        self.fleet.step()

    @rule()
    def take_one_step(self) -> None:
        self.fleet.take()

    @rule(seconds=st.sampled_from([1, 60, 700, 6000, -100]))
    def wait(self, seconds: int) -> None:
        self.fleet.now += timedelta(seconds=seconds)

    @rule(verdict=st.sampled_from([None, "advance", "hold", "abort"]))
    def gate(self, verdict: Any) -> None:
        self.fleet.gate = None if verdict is None else GateResult(verdict, "as it is")

    @precondition(lambda self: self.fleet.rollout.state == "running")
    @rule()
    def pause(self) -> None:
        self.fleet.rollout = replace(self.fleet.rollout, state="paused")

    @precondition(lambda self: self.fleet.rollout.state == "paused")
    @rule()
    def resume(self) -> None:
        self.fleet.rollout = replace(self.fleet.rollout, state="running")

    @precondition(lambda self: self.fleet.rollout.has_begun and self.fleet.rollout.wave_ended_at is not None)
    @rule()
    def approve(self) -> None:
        self.fleet.rollout = replace(self.fleet.rollout, approved_wave=self.fleet.rollout.current_wave + 1)

    @precondition(lambda self: self.fleet.rollout.has_begun)
    @rule()
    def abort(self) -> None:
        self.fleet.step(abort_reason="by hand")

    @precondition(lambda self: self.fleet.rollout.state in {"running", "paused", "succeeded"})
    @rule()
    def roll_back(self) -> None:
        self.fleet.rollout = replace(self.fleet.rollout, state="rolling_back", ended_at=None)
        self.fleet.holds_leases = True

    @precondition(lambda self: self.fleet.rollout.state == "running" and len(self.fleet.attempts) < 12)
    @rule()
    def join_late(self) -> None:
        self._add(f"late-{len(self.fleet.attempts)}", self.fleet.rollout.wave_count - 1, "pending")

    @invariant()
    def no_more_devices_are_at_it_than_allowed(self) -> None:
        if hasattr(self, "fleet"):
            most = self.fleet.rollout.plan.max_in_flight
            at_it = [one for one in self.fleet.attempts if one.state in OPEN and one.assigned_at is not None]
            assert most is None or len(at_it) <= most

    @invariant()
    def no_device_of_a_later_wave_and_none_held_back_is_told(self) -> None:
        if hasattr(self, "fleet"):
            wave = self.fleet.rollout.current_wave
            apart = [one for one in self.fleet.attempts if one.wave > wave or one.state == "held_back"]
            assert all(one.target == "" and one.device_id not in self.fleet.intents for one in apart)

    @invariant()
    def counts_add_up(self) -> None:
        if hasattr(self, "fleet"):
            tally = Tally.of(self.fleet.attempts)
            open_now = sum(one.state in OPEN for one in self.fleet.attempts)
            ended = tally.executed + sum(one.state == "cancelled" for one in self.fleet.attempts)
            assert tally.devices == open_now + ended
            assert tally.failures() == sum(one.state in FAILED for one in self.fleet.attempts)
            assert tally.in_flight <= open_now

    @invariant()
    def a_rollout_that_succeeded_left_nothing_open(self) -> None:
        if hasattr(self, "fleet") and self.fleet.rollout.state == "succeeded":
            assert not any(one.state in OPEN for one in self.fleet.attempts)

    @invariant()
    def who_was_told_something_that_it_may_fetch_finds_it_at_the_broker(self) -> None:
        if hasattr(self, "fleet"):
            away = [one for one in self.fleet.attempts if one.state in {"assigned", "working"}]
            returning = [one for one in self.fleet.attempts if is_waiting_to_return(one)]
            assert self.fleet.holds_leases or not (away or returning)

    def teardown(self) -> None:
        """Whatever happened: once devices do what they are told and people let it go on, it ends and holds nothing."""
        if not hasattr(self, "fleet"):
            return
        fleet = self.fleet
        fleet.gate = None
        for _ in range(60):
            if fleet.rollout.state == "paused":
                fleet.rollout = replace(fleet.rollout, state="running")
            fleet.rollout = replace(fleet.rollout, approved_wave=fleet.rollout.wave_count)
            for index, attempt in enumerate(fleet.attempts):
                if not fleet.facts[attempt.device_id].is_revoked:
                    fleet.report(index, "applied")
            fleet.now += timedelta(seconds=700)
            fleet.step()
        assert fleet.rollout.state in ENDED
        assert not fleet.holds_leases
        if fleet.rollout.state == "aborted" and fleet.rollout.plan.on_abort == "roll_back":
            told = [body for body in fleet.intents.values() if body is not None]
            ours = [one for one in told if one.version == 2]
            assert not ours or any(fact.is_revoked for fact in fleet.facts.values())

    def _add(self, name: str, wave: int, state: Any) -> None:
        self.fleet.attempts.append(Attempt(f"dp-{name}", name, wave, state=state))
        self.fleet.facts[name] = DeviceFacts(targets=(TARGET,))

    def _change(self, index: int, **changes: Any) -> None:
        device_id = self.fleet.attempts[index % len(self.fleet.attempts)].device_id
        facts = self.fleet.facts[device_id]
        at = (1, facts.report[1] + 1)
        self.fleet.facts[device_id] = facts._replace(report=at, **changes)


AnyFleet.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyFleet = AnyFleet.TestCase


def test_a_device_that_had_nothing_and_stays_silent_after_an_abort_is_done_with() -> None:
    """Nothing is reported after the way back began, so that it has to be looked at once without a report."""
    fleet = PartOfFleet([1], current=None)
    fleet.facts["device-0"] = fleet.facts["device-0"]._replace(report=(1, 1))
    fleet.step()
    fleet.step(abort_reason="by hand")
    assert (fleet.rollout.state, fleet.states(), fleet.holds_leases) == ("aborted", ["rolled_back"], False)
