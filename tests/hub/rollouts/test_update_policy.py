"""What a rollout asks of its devices besides the version, and how their waiting is told from their being stuck."""

from datetime import timedelta
from typing import Any

import pytest
from tests.hub.rollouts.test_advance import OLD, TARGET, TIMEOUT, Fleet
from tests.hub.rollouts.test_wave_gates import planned
from tests.simulators.rows import section

from shoal_contract.reported import Problem, SlotReport
from shoal_contract.update_policy import MaintenanceWindow, UpdatePolicy

NIGHT = UpdatePolicy(windows=(MaintenanceWindow(start="02:00", minutes=60),))
HOUR = timedelta(hours=1)


def says(fleet: Fleet, index: int, state: str, step: str, **slots: Any) -> None:
    facts = fleet.facts[f"device-{index}"]
    report = section(state, fleet.attempts[index].id, step=step)
    at = (facts.report[0], facts.report[1] + 1)
    fleet.facts[f"device-{index}"] = facts._replace(section=report, report=at, **slots)


def test_devices_are_told_the_policy_and_one_that_asks_nothing_is_left_out() -> None:
    for policy, told in ((NIGHT, NIGHT), (UpdatePolicy(), None)):
        fleet = Fleet([1], planned(policy=policy))
        fleet.step()
        body = fleet.intents["device-0"]
        assert body is not None
        assert body.policy == told


@pytest.mark.parametrize(
    ("devices", "plan", "progress_s"),
    [
        (100, {}, None),
        (300, {}, 10.0),
        (1000, {}, 30.0),
        (1000, {"max_in_flight": 100}, None),
        (1000, {"max_in_flight": 400}, 13.3),
        (1000, {"timeout_s": 40}, 10.0),
        (1000, {"policy": UpdatePolicy(progress_s=1.0)}, 1.0),
    ],
)
def test_the_more_devices_are_at_it_together_the_longer_a_step_may_wait_to_be_told(
    devices: int, plan: dict[str, Any], progress_s: float | None
) -> None:
    fleet = Fleet([devices], planned(**plan))
    fleet.step()
    body = fleet.intents["device-0"]
    assert body is not None
    assert (body.policy.progress_s if body.policy else None) == progress_s


def test_a_wave_counts_for_itself_however_many_are_to_come() -> None:
    fleet = Fleet([20, 1000], planned())
    fleet.step()
    body = fleet.intents["device-0"]
    assert body is not None
    assert body.policy is None


def test_the_way_back_has_no_policy_as_its_window_may_be_far_and_its_end_past() -> None:
    fleet = Fleet([1], planned(policy=NIGHT), current=OLD.model_copy(update={"policy": NIGHT}))
    fleet.step()
    fleet.report(0, "failed")
    fleet.step()
    body = fleet.intents["device-0"]
    assert body is not None
    assert (body.version, body.policy) == (1, None)


def test_a_device_that_waits_for_its_window_does_not_run_out_of_time_and_gets_it_anew_afterwards() -> None:
    for step in ("window", "veto", "activate_at"):
        fleet = Fleet([1], planned(policy=NIGHT))
        fleet.step()
        says(fleet, 0, "held", step)
        fleet.step()
        assert fleet.attempts[0].waits_for == step
        fleet.now += 10 * HOUR
        fleet.step()
        assert fleet.states() == ["working"], step
        says(fleet, 0, "working", "activate")
        fleet.step()
        fleet.now += TIMEOUT - timedelta(seconds=1)
        fleet.step()
        assert fleet.states() == ["working"], step
        fleet.now += timedelta(seconds=2)
        fleet.step()
        assert fleet.states() == ["timed_out"], step


def test_a_device_that_is_held_without_a_reason_of_its_own_runs_out_of_time() -> None:
    fleet = Fleet([1])
    fleet.step()
    says(fleet, 0, "held", "wait")
    fleet.step()
    fleet.now += TIMEOUT + timedelta(seconds=1)
    fleet.step()
    assert fleet.states() == ["timed_out"]


def test_a_device_whose_months_bytes_are_spent_is_waited_for() -> None:
    fleet = Fleet([1])
    fleet.step()
    says(fleet, 0, "held", "wait")
    facts = fleet.facts["device-0"]
    assert facts.section is not None
    spent = Problem(code="budget", message="the month's bytes are spent", remedy="wait")
    fleet.facts["device-0"] = facts._replace(section=facts.section.model_copy(update={"problem": spent}))
    fleet.step()
    fleet.now += 10 * HOUR
    fleet.step()
    assert (fleet.states(), fleet.attempts[0].waits_for) == (["working"], "budget")


def test_waiting_ends_at_its_own_limit_but_not_before_the_time_to_activate() -> None:
    fleet = Fleet([1], planned(hold_timeout_s=3600, policy=NIGHT))
    activate_at = fleet.now + 5 * HOUR
    late = Fleet([1], planned(hold_timeout_s=3600, policy=UpdatePolicy(activate_at=activate_at)))
    for one in (fleet, late):
        one.step()
        says(one, 0, "held", "window")
        one.step()
        one.now += HOUR + timedelta(seconds=1)
        one.step()
    assert (fleet.states(), late.states()) == (["timed_out"], ["working"])
    late.now = activate_at + TIMEOUT + timedelta(seconds=1)
    late.step()
    assert late.states() == ["timed_out"]


def test_a_download_is_done_when_the_candidate_is_there_and_only_if_no_more_was_asked_for() -> None:
    candidate = SlotReport(version=2, target=TARGET, sha256="0" * 64, state="unproven")
    for is_asked, state in ((True, "succeeded"), (False, "working")):
        fleet = Fleet([1], planned(policy=UpdatePolicy(download_only=is_asked)))
        fleet.step()
        says(fleet, 0, "applied", "downloaded", candidate=candidate)
        fleet.step()
        assert fleet.states() == [state]


def test_a_device_that_does_not_answer_gets_its_time_again_as_often_as_the_plan_says() -> None:
    fleet = Fleet([1], planned(offline_attempts=3))
    fleet.step()
    for tries in (2, 3):
        fleet.now += TIMEOUT + timedelta(seconds=1)
        fleet.step()
        assert (fleet.states(), fleet.attempts[0].tries) == (["assigned"], tries)
    fleet.now += TIMEOUT + timedelta(seconds=1)
    fleet.step()
    assert fleet.states() == ["timed_out"]
    assert fleet.attempts[0].problem is not None
    assert "in each of 3 tries" in fleet.attempts[0].problem.message


def test_a_device_that_has_told_of_a_step_by_an_event_alone_has_answered() -> None:
    fleet = Fleet([1], planned(offline_attempts=3))
    fleet.step()
    fleet.attempts[0] = fleet.attempts[0]._replace(state="working", step="fetch")  # as ingest writes it
    fleet.now += TIMEOUT + timedelta(seconds=1)
    fleet.step()
    assert (fleet.states(), fleet.attempts[0].tries) == (["timed_out"], 1)


def test_a_device_that_has_answered_retries_by_itself_and_gets_its_time_once() -> None:
    fleet = Fleet([1], planned(offline_attempts=3))
    fleet.step()
    says(fleet, 0, "working", "fetch")
    fleet.step()
    fleet.now += TIMEOUT + timedelta(seconds=1)
    fleet.step()
    assert fleet.states() == ["timed_out"]
