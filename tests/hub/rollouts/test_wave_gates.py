"""What stands between two waves: how many at once, the soak time, thresholds, a person's approval, a gate's word."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from tests.hub.rollouts.test_advance import ROLLOUT, TIMEOUT, Fleet

from shoal_contract.reported import Problem
from shoal_hub.gates.plan import GatePlan
from shoal_hub.rollouts.request import RolloutPlan, Threshold
from shoal_hub.rollouts.tally import Tally
from shoal_hub.rollouts.thresholds import measure
from shoal_hub.rollouts.views import GateResult, RolloutView


def planned(**plan: Any) -> RolloutView:
    made = RolloutPlan(**plan)
    return replace(ROLLOUT, plan=made, max_failures=made.failures_allowed)


def failed(code: str) -> Problem:
    return Problem(code=code, message=f"it failed by {code}", remedy="-")


def test_no_more_devices_than_the_plan_allows_are_at_it_at_once() -> None:
    fleet = Fleet([4], planned(max_in_flight=2))
    fleet.step()
    assert fleet.states() == ["assigned", "assigned", "pending", "pending"]
    fleet.report(0, "applied")
    fleet.step()
    assert fleet.states() == ["succeeded", "assigned", "assigned", "pending"]


def test_a_device_that_has_never_reported_is_at_it_as_well() -> None:
    fleet = Fleet([2], planned(max_in_flight=1, max_failures=1))
    fleet.facts["device-0"] = fleet.facts["device-0"]._replace(targets=())
    fleet.step()
    assert "device-1" not in fleet.intents
    fleet.now += TIMEOUT + timedelta(seconds=1)
    fleet.step()
    assert fleet.states() == ["timed_out", "assigned"]


def test_a_wave_is_watched_for_its_soak_time_before_the_next_one_and_the_last_one_is_not() -> None:
    fleet = Fleet([1, 1], planned(soak_s=60))
    fleet.step()
    fleet.report(0, "applied")
    fleet.step()
    ended_at = fleet.now
    fleet.now += timedelta(seconds=59)
    fleet.step()
    assert (fleet.rollout.current_wave, fleet.rollout.soaks_until()) == (0, ended_at + timedelta(seconds=60))
    fleet.now += timedelta(seconds=1)
    fleet.step()
    assert fleet.states() == ["succeeded", "assigned"]
    fleet.report(1, "applied")
    fleet.step()
    assert fleet.rollout.state == "succeeded"


def test_a_device_that_goes_back_by_itself_while_its_wave_is_watched_has_failed() -> None:
    fleet = Fleet([1, 1], planned(soak_s=60))
    fleet.step()
    fleet.report(0, "applied")
    fleet.step()
    fleet.report(0, "failed", failed("probe"))
    fleet.step()
    assert (fleet.rollout.state, fleet.attempts[0].failure) == ("aborted", "probe")
    assert "it failed by probe" in fleet.rollout.reason


def test_a_clock_that_was_set_back_makes_a_wave_soak_once_more_and_no_longer() -> None:
    fleet = Fleet([1, 1], planned(soak_s=60))
    fleet.step()
    fleet.report(0, "applied")
    fleet.step()
    fleet.now -= timedelta(days=365)
    fleet.step()
    fleet.now += timedelta(seconds=60)
    fleet.step()
    assert fleet.rollout.current_wave == 1


def test_nobody_is_told_before_the_start() -> None:
    fleet = Fleet([1])
    fleet.rollout = replace(fleet.rollout, plan=RolloutPlan(start_at=fleet.now + timedelta(hours=1)))
    fleet.step()
    assert fleet.intents == {}
    fleet.now += timedelta(hours=1)
    fleet.step()
    assert fleet.states() == ["assigned"]


def test_a_percentage_aborts_only_once_enough_devices_have_ended() -> None:
    threshold = Threshold(percent=50, min_executed=4)
    fleet = Fleet([6], planned(thresholds=[threshold]))
    fleet.step()
    for index in (0, 1, 2):
        fleet.report(index, "failed", failed("golden"))
    fleet.step()
    assert fleet.rollout.state == "running", "three have ended, four are needed"
    fleet.report(3, "applied")
    fleet.step()
    assert fleet.rollout.state == "aborted"
    assert "3 failures among 4 devices" in fleet.rollout.reason


def test_a_threshold_counts_only_its_causes() -> None:
    fleet = Fleet([3], planned(thresholds=[Threshold(count=2, causes=("probe",))]))
    fleet.step()
    for index, code in ((0, "disk"), (1, "probe")):
        fleet.report(index, "failed", failed(code))
    fleet.step()
    assert fleet.rollout.state == "running"
    fleet.report(2, "failed", failed("probe"))
    fleet.step()
    assert fleet.rollout.state == "aborted"


def test_a_threshold_that_paused_and_was_resumed_pauses_again_only_for_one_failure_more() -> None:
    fleet = Fleet([2, 1, 1], planned(thresholds=[Threshold(count=1, action="pause")]))
    fleet.step()
    fleet.report(0, "failed")
    fleet.report(1, "applied")
    fleet.step()
    assert (fleet.rollout.state, fleet.rollout.current_wave) == ("paused", 0)
    fleet.rollout = replace(fleet.rollout, state="running")
    fleet.step()
    assert (fleet.rollout.state, fleet.rollout.current_wave) == ("running", 1)
    fleet.report(2, "failed")
    fleet.step()
    assert fleet.rollout.state == "paused"


def test_an_abort_comes_before_a_pause_and_also_while_it_is_paused() -> None:
    thresholds = [Threshold(count=1, action="pause"), Threshold(count=2)]
    fleet = Fleet([2], planned(thresholds=thresholds))
    fleet.step()
    fleet.report(0, "failed")
    fleet.step()
    assert fleet.rollout.state == "paused"
    fleet.report(1, "failed")
    fleet.step()
    assert fleet.rollout.state == "aborted"


def test_an_abort_by_policy_leaves_what_has_succeeded_and_takes_back_the_rest() -> None:
    fleet = Fleet([3], planned(thresholds=[Threshold(count=1)], on_abort="leave"))
    fleet.step()
    fleet.report(0, "applied")
    fleet.report(1, "failed")
    fleet.step()
    assert fleet.rollout.state == "aborted"
    versions = {device_id: body.version for device_id, body in fleet.intents.items() if body is not None}
    assert versions == {"device-0": 2, "device-1": 1, "device-2": 1}
    fleet.report(1, "applied")
    fleet.report(2, "applied")
    fleet.step()
    assert fleet.states() == ["succeeded", "rolled_back", "rolled_back"]
    assert not fleet.holds_leases


def test_each_wave_after_the_first_waits_for_its_approval() -> None:
    fleet = Fleet([1, 1, 1], planned(wave_approval=True))
    for wave in (0, 1):
        fleet.step()
        fleet.report(wave, "applied")
        fleet.step()
        assert fleet.rollout.current_wave == wave
        fleet.rollout = replace(fleet.rollout, approved_wave=wave + 1)
    fleet.step()
    assert fleet.states() == ["succeeded", "succeeded", "assigned"]


def test_a_gate_holds_a_wave_lets_it_pass_or_aborts_in_the_middle_of_one() -> None:
    fleet = Fleet([1, 1])
    fleet.gate = GateResult("hold", "too few samples")
    fleet.step()
    fleet.report(0, "applied")
    fleet.step()
    assert fleet.rollout.current_wave == 0
    fleet.gate = GateResult("advance", "no worse by more than 1 %")
    fleet.step()
    assert fleet.rollout.current_wave == 1
    fleet.gate = GateResult("abort", "errors rose by 2 %")
    fleet.step()
    assert (fleet.rollout.state, fleet.rollout.reason) == ("aborted", "errors rose by 2 %")


def last_wave_has_ended(**plan: Any) -> Fleet:
    """Return a fleet of one wave with a gate, of which the one device has the version."""
    fleet = Fleet([1], replace(planned(gate=GatePlan(), **plan), gate_count=1))
    fleet.gate = GateResult("hold", "too few samples")
    fleet.step()
    fleet.report(0, "applied")
    fleet.step()
    return fleet


def test_the_last_wave_is_held_by_its_gate_and_has_succeeded_once_it_is_let_pass() -> None:
    fleet = last_wave_has_ended(soak_s=60)
    fleet.now += timedelta(seconds=61)
    fleet.step()
    assert (fleet.rollout.state, fleet.holds_leases) == ("running", True)
    fleet.gate = GateResult("advance", "no worse by more than 1 %")
    fleet.step()
    assert fleet.rollout.state == "succeeded"


def test_a_last_wave_with_a_gate_is_watched_for_its_soak_time_too() -> None:
    fleet = last_wave_has_ended(soak_s=60)
    fleet.gate = GateResult("advance", "no worse by more than 1 %")
    fleet.step()
    assert fleet.rollout.state == "running"
    fleet.now += timedelta(seconds=61)
    fleet.step()
    assert fleet.rollout.state == "succeeded"


def test_a_person_lets_only_the_wave_past_its_gate_that_was_looked_at() -> None:
    fleet = Fleet([1, 1], replace(planned(gate=GatePlan()), gate_count=2))
    fleet.gate = GateResult("hold", "too few samples")
    fleet.rollout = replace(fleet.rollout, gate_passed_wave=0)
    for wave in (0, 1):
        fleet.step()
        fleet.report(wave, "applied")
        fleet.step()
    fleet.step()
    assert (fleet.rollout.current_wave, fleet.rollout.state) == (1, "running")
    fleet.rollout = replace(fleet.rollout, gate_passed_wave=1)
    fleet.step()
    assert fleet.rollout.state == "succeeded"


def test_a_plan_without_thresholds_allows_no_failure_and_one_with_them_leaves_it_to_them() -> None:
    assert RolloutPlan().failures_allowed == 0
    assert RolloutPlan(thresholds=[Threshold(count=3)]).failures_allowed is None
    assert RolloutPlan(thresholds=[Threshold(count=3)], max_failures=1).failures_allowed == 1


def test_a_threshold_has_either_a_count_or_a_percent() -> None:
    for wrong in ({}, {"count": 1, "percent": 5}):
        with pytest.raises(ValidationError, match="either a count or a percent"):
            Threshold.model_validate(wrong)


def test_no_failure_crosses_no_threshold() -> None:
    assert not measure(Threshold(percent=0.001), Tally.of([])).is_crossed
