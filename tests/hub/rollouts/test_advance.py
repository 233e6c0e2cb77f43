"""The decision on a rollout, as a simulated fleet that behaves in any way hypothesis likes."""

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.simulators.rows import NOON, section

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem, SlotReport
from shoal_hub.rollouts.advance import advance
from shoal_hub.rollouts.known import Known
from shoal_hub.rollouts.views import (
    Advanced,
    Attempt,
    DeviceFacts,
    DropIntent,
    DropLeases,
    GateResult,
    Record,
    RolloutView,
    SetIntent,
    TakeLease,
)

REF = ArtifactRef(sha256="0" * 64, size_bytes=1)
TARGET = "pi"
TIMEOUT = timedelta(seconds=600)
OPEN = {"pending", "assigned", "working"}
ROLLOUT = RolloutView(
    id="r-1",
    model="digits",
    version=2,
    manifest=REF,
    targets={TARGET: 0.0},
    state="running",
    wave_count=2,
    current_wave=0,
    max_failures=0,
    timeout_s=TIMEOUT.total_seconds(),
)
OLD = DesiredModel(version=1, target=TARGET, manifest=REF, deployment="dp-old")


class Fleet:
    """The world around `advance`: intents as the hub keeps them, devices as they behave, a clock."""

    def __init__(self, waves: list[int], rollout: RolloutView = ROLLOUT, current: DesiredModel | None = OLD) -> None:
        self.rollout = replace(rollout, wave_count=len(waves))
        numbers = [wave for wave, size in enumerate(waves) for _ in range(size)]
        self.attempts = [Attempt(f"dp-{i}", f"device-{i}", wave) for i, wave in enumerate(numbers)]
        self.intents: dict[str, DesiredModel | None] = {}
        self.facts = {one.device_id: DeviceFacts(targets=(TARGET,), current=current) for one in self.attempts}
        self.now = NOON
        self.ids = (f"dp-new-{number}" for number in itertools.count())
        self.holds_leases = True
        self.effects: list[Any] = []
        self.gate: GateResult | None = None

    def step(self, abort_reason: str = "") -> Advanced:
        """Take steps until nothing changes, as the controller does."""
        while True:
            known = Known(self.facts, gate=self.gate)
            done = advance(
                self.rollout, self.attempts, known, self.now, lambda: next(self.ids), abort_reason=abort_reason
            )
            is_new = (done.rollout, list(done.attempts)) != (self.rollout, self.attempts)
            self.rollout, self.attempts = done.rollout, list(done.attempts)
            for effect in done.effects:
                self.apply(effect)
            if not is_new:
                return done
            abort_reason = ""

    def apply(self, effect: object) -> None:
        self.effects.append(effect)
        match effect:
            case SetIntent(device_id, _, body):
                self.intents[device_id] = body
                self.facts[device_id] = self.facts[device_id]._replace(is_ours=True)
            case DropIntent(device_id):
                self.intents[device_id] = None
                self.facts[device_id] = self.facts[device_id]._replace(is_ours=False)
            case TakeLease():
                self.holds_leases = True
            case DropLeases():
                self.holds_leases = False

    def report(self, index: int, state: str, problem: Problem | None = None) -> None:
        """Have a device report on what it is told now."""
        device_id = self.attempts[index].device_id
        body = self.intents.get(device_id)
        facts = self.facts[device_id]
        at = (facts.report[0], facts.report[1] + 1)
        if body is None:
            self.facts[device_id] = facts._replace(section=None, active=None, report=at)
            return
        active = facts.active
        if state == "applied":
            active = SlotReport(version=body.version, target=body.target, sha256="0" * 64, state="good")
        report = section(state, body.deployment, problem=problem)
        self.facts[device_id] = facts._replace(section=report, active=active, report=at)

    def states(self) -> list[str]:
        return [attempt.state for attempt in self.attempts]


def test_the_second_wave_begins_when_the_whole_first_has_succeeded() -> None:
    fleet = Fleet([2, 1])
    fleet.step()
    assert fleet.states() == ["assigned", "assigned", "pending"]
    fleet.report(0, "applied")
    fleet.report(1, "working")
    fleet.step()
    assert fleet.states() == ["succeeded", "working", "pending"]
    fleet.report(1, "applied")
    fleet.step()
    assert fleet.states() == ["succeeded", "succeeded", "assigned"]
    fleet.report(2, "applied")
    fleet.step()
    assert fleet.rollout.state == "succeeded"
    assert not fleet.holds_leases


def test_a_device_that_no_key_can_be_wrapped_for_does_not_fit_an_encrypted_version() -> None:
    fleet = Fleet([2], replace(ROLLOUT, is_encrypted=True, max_failures=1))
    fleet.facts["device-0"] = fleet.facts["device-0"]._replace(has_encryption_key=True)
    fleet.step()
    assert (fleet.states(), set(fleet.intents)) == (["assigned", "failed"], {"device-0"})


def test_while_a_rollout_waits_for_its_deltas_nobody_is_told_and_no_time_runs() -> None:
    fleet = Fleet([1], rollout=replace(ROLLOUT, is_waiting_for_deltas=True))
    fleet.step()
    fleet.now += 2 * TIMEOUT
    fleet.step()
    assert (fleet.states(), fleet.intents) == (["pending"], {})
    fleet.rollout = replace(fleet.rollout, is_waiting_for_deltas=False)
    fleet.step()
    assert fleet.states() == ["assigned"]


def test_each_device_gets_the_first_of_its_targets_that_there_is_a_variant_for() -> None:
    fleet = Fleet([1])
    fleet.facts["device-0"] = DeviceFacts(targets=("jetson", TARGET, "other"))
    fleet.step()
    assert fleet.intents["device-0"] == DesiredModel(version=2, target=TARGET, manifest=REF, deployment="dp-0")


def test_one_failure_too_many_takes_everyone_back_under_new_ids() -> None:
    fleet = Fleet([2, 1])
    fleet.step()
    fleet.report(0, "applied")
    fleet.report(1, "failed", Problem(code="golden", message="wrong answer", remedy="compress again"))
    fleet.step()
    assert fleet.rollout.state == "aborted"
    assert "wrong answer" in fleet.rollout.reason
    for device_id in ("device-0", "device-1"):
        body = fleet.intents[device_id]
        assert body is not None
        assert (body.version, body.deployment.startswith("dp-new-")) == (1, True)
    assert "device-2" not in fleet.intents
    assert fleet.holds_leases
    for index in (0, 1):
        fleet.report(index, "applied")
    fleet.step()
    assert fleet.states() == ["rolled_back", "rolled_back", "cancelled"]
    assert not fleet.holds_leases


def test_a_device_that_had_nothing_before_unloads_the_model() -> None:
    fleet = Fleet([1], current=None)
    fleet.step()
    fleet.report(0, "failed")
    fleet.step()
    assert fleet.intents == {"device-0": None}
    fleet.report(0, "gone")
    fleet.step()
    assert not fleet.holds_leases


def test_as_many_failures_as_are_allowed_do_not_stop_a_rollout() -> None:
    fleet = Fleet([2, 1], replace(ROLLOUT, max_failures=1))
    fleet.step()
    fleet.report(0, "failed")
    fleet.report(1, "applied")
    fleet.step()
    assert fleet.states() == ["failed", "succeeded", "assigned"]
    fleet.report(2, "applied")
    fleet.step()
    assert (fleet.rollout.state, fleet.rollout.reason) == ("succeeded", "1 device failed")


def test_a_device_that_can_run_no_variant_fails_with_what_to_do() -> None:
    fleet = Fleet([1])
    fleet.facts["device-0"] = DeviceFacts(targets=("esp32",))
    fleet.step()
    problem = fleet.attempts[0].problem
    assert problem is not None
    assert (problem.code, "esp32" in problem.message, "compress" in problem.remedy) == ("no_variant", True, True)
    assert fleet.rollout.state == "aborted"


def test_a_device_that_never_reports_times_out() -> None:
    fleet = Fleet([1])
    fleet.facts["device-0"] = DeviceFacts()
    fleet.step()
    assert fleet.states() == ["pending"]
    fleet.now += TIMEOUT + timedelta(seconds=1)
    fleet.step()
    assert fleet.attempts[0].problem is not None
    assert "never reported" in fleet.attempts[0].problem.message
    assert "roll out to it again" in fleet.attempts[0].problem.remedy, (
        "nothing was wanted of it, so it converges on nothing"
    )
    assert fleet.rollout.state == "aborted"


def test_a_report_of_another_deployment_or_another_version_is_no_success() -> None:
    fleet = Fleet([1])
    fleet.step()
    good = SlotReport(version=2, target=TARGET, sha256="0" * 64, state="good")
    fleet.facts["device-0"] = fleet.facts["device-0"]._replace(section=section("applied", "dp-x"), active=good)
    fleet.step()
    assert fleet.states() == ["assigned"]
    old = good.model_copy(update={"version": 1})
    fleet.facts["device-0"] = fleet.facts["device-0"]._replace(section=section("applied", "dp-0"), active=old)
    fleet.step()
    assert fleet.states() == ["working"]


def test_a_paused_rollout_assigns_nothing_and_its_time_stands_still_but_it_sees_outcomes() -> None:
    fleet = Fleet([1, 1])
    fleet.step()
    fleet.rollout = replace(fleet.rollout, state="paused")
    fleet.now += 2 * TIMEOUT
    fleet.step()
    assert fleet.states() == ["assigned", "pending"]
    fleet.report(0, "applied")
    fleet.step()
    assert fleet.states() == ["succeeded", "pending"]


def test_an_operators_rollback_waits_for_every_device_also_for_one_that_is_away() -> None:
    fleet = Fleet([2])
    fleet.step()
    fleet.report(0, "applied")
    fleet.report(1, "applied")
    fleet.step()
    fleet.rollout = replace(fleet.rollout, state="rolling_back", ended_at=None)
    fleet.step()
    fleet.report(0, "applied")
    fleet.now += 100 * TIMEOUT
    fleet.step()
    assert fleet.rollout.state == "rolling_back"
    assert fleet.holds_leases
    fleet.report(1, "applied")
    fleet.step()
    assert fleet.rollout.state == "rolled_back"
    assert not fleet.holds_leases


def test_a_device_that_can_not_go_back_is_told_and_not_waited_for() -> None:
    fleet = Fleet([2])
    fleet.step()
    fleet.report(0, "applied")
    fleet.report(1, "applied")
    fleet.step()
    fleet.rollout = replace(fleet.rollout, state="rolling_back", ended_at=None)
    fleet.step()
    fleet.report(0, "applied")
    fleet.report(1, "failed", Problem(code="artifact", message="its file is damaged", remedy="-"))
    fleet.step()
    assert (fleet.rollout.state, fleet.rollout.reason) == ("rolled_back", "1 device could not go back")
    assert fleet.states() == ["rolled_back", "failed"]
    assert not fleet.holds_leases
    (told,) = [one for one in fleet.effects if isinstance(one, Record) and one.kind == "rollback_failed"]
    assert "its file is damaged" in told.message


def test_a_rollback_leaves_devices_alone_that_a_later_rollout_has_taken_over() -> None:
    fleet = Fleet([2])
    fleet.step()
    for index in (0, 1):
        fleet.report(index, "applied")
    fleet.step()
    fleet.facts["device-0"] = fleet.facts["device-0"]._replace(is_ours=False)
    before = fleet.intents["device-0"]
    fleet.rollout = replace(fleet.rollout, state="rolling_back", ended_at=None)
    fleet.step()
    assert fleet.intents["device-0"] == before
    assert fleet.states()[0] == "succeeded"


def test_the_artifacts_stay_while_a_device_that_was_told_may_still_come_for_them() -> None:
    fleet = Fleet([1], replace(ROLLOUT, max_failures=1))
    fleet.step()
    fleet.now += TIMEOUT + timedelta(seconds=1)
    fleet.step()
    assert (fleet.rollout.state, fleet.states(), fleet.holds_leases) == ("succeeded", ["timed_out"], True)
    fleet.report(0, "applied")
    fleet.step()
    assert not fleet.holds_leases


def test_an_abort_by_hand_names_who() -> None:
    fleet = Fleet([1])
    fleet.step()
    fleet.step(abort_reason="aborted by admin")
    assert (fleet.rollout.state, fleet.rollout.reason) == ("aborted", "aborted by admin")
    assert any(isinstance(one, Record) and one.severity == "error" for one in fleet.effects)


@given(st.integers(1, 5), st.integers(0, 3))
def test_a_second_step_with_nothing_new_changes_nothing(devices: int, seconds: int) -> None:
    fleet = Fleet([devices])
    fleet.step()
    before = (fleet.rollout, list(fleet.attempts))
    fleet.now += timedelta(seconds=seconds)
    effects = fleet.step().effects
    assert (fleet.rollout, fleet.attempts, effects) == (*before, ())
