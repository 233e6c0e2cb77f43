"""When a policy begins a run, what holds it back, and that it says why: also when it does nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.automation.policies import policy

from shoal_hub.automation.decide import Decision, DriftFact, Facts, PastRun, decide

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""A Monday."""
LONG_AGO = NOW - timedelta(days=30)
HOUR = timedelta(hours=1)


def drifted(*devices: str, rule: str = "plain", version: int = 3, raised_at: datetime = NOW - HOUR) -> DriftFact:
    return DriftFact("ds-1", rule, version, frozenset(devices), ("x[3]", "x[5]"), raised_at)


def facts(*signals: DriftFact, **changes: Any) -> Facts:
    known: dict[str, Any] = {"champion": 3, "serving": 6, "drift": signals}
    return Facts(**(known | changes))


def look(known: Facts, *history: PastRun, now: datetime = NOW, since: datetime = LONG_AGO, **changes: Any) -> Decision:
    return decide(policy(**changes), known, history, since, now)


def held_by(decision: Decision) -> list[str]:
    return [one.name for one in decision.guards if not one.holds]


def test_drift_of_the_champion_fires_and_names_devices_and_features() -> None:
    found = look(facts(drifted("a", "b")))
    assert found.fires
    assert "2 of 6 devices, led by x[3], x[5]" in found.reason
    assert found.conditions[0].facts["devices"] == ["a", "b"]


@pytest.mark.parametrize(
    ("signal", "when"),
    [
        (drifted("a", version=2), {}),
        (drifted("a", rule="controlled"), {}),
        (drifted("a"), {"min_devices": 2}),
        (drifted("a"), {"min_share": 0.34}),
        (drifted("a"), {"for_s": 7200}),
    ],
)
def test_drift_of_another_version_or_rule_or_on_too_few_devices_or_too_young_does_nothing(
    signal: DriftFact, when: dict[str, Any]
) -> None:
    found = look(facts(signal), when={"kind": "drift", "rule": "plain"} | when)
    assert (found.fires, found.outcome) == (False, "quiet")
    assert found.reason


def test_a_third_of_the_fleet_is_enough_where_a_third_is_asked_for() -> None:
    assert look(facts(drifted("a", "b")), when={"kind": "drift", "rule": "any", "min_share": 1 / 3}).fires


@pytest.mark.parametrize(
    ("labelled", "correct", "fires"), [(99, 0, False), (100, 90, False), (100, 84, True), (100, 85, False)]
)
def test_accuracy_fires_below_its_bound_with_enough_labels(labelled: int, correct: int, fires: bool) -> None:
    when = {"kind": "accuracy_drop", "below": 0.85, "min_labels": 100, "over_s": 600}
    known = facts(labelled={600.0: labelled}, correct={600.0: correct})
    assert look(known, when=when).fires == fires


def test_a_drop_is_measured_from_the_versions_own_accuracy() -> None:
    when = {"kind": "accuracy_drop", "drop": 0.1, "over_s": 600}
    known: dict[str, Any] = {"labelled": {600.0: 200}, "correct": {600.0: 170}}
    assert look(facts(**known, reference_accuracy=0.96), when=when).fires
    assert not look(facts(**known, reference_accuracy=0.94), when=when).fires
    unknown = look(facts(**known), when=when)
    assert not unknown.fires
    assert "none on held-out samples" in unknown.reason


def test_data_and_labels_fire_by_their_number() -> None:
    assert look(facts(captured=50), when={"kind": "data_volume", "min_samples": 50}).fires
    assert not look(facts(captured=49), when={"kind": "data_volume", "min_samples": 50}).fires
    assert look(facts(labels_since=50), when={"kind": "new_labels", "min_labels": 50}).fires
    assert not look(facts(labels_since=49), when={"kind": "new_labels", "min_labels": 50}).fires


def test_a_schedule_fires_once_for_all_that_was_missed() -> None:
    when = {"kind": "schedule", "cron": "0 3 * * 1"}
    assert look(facts(), when=when).fires, "thirty days have passed"
    ran = PastRun(NOW - timedelta(hours=8), NOW - timedelta(hours=8))
    assert not look(facts(), ran, when=when).fires, "it has run after Monday at three"
    before = PastRun(NOW - timedelta(hours=10), NOW - timedelta(hours=10))
    assert look(facts(), before, when=when).fires
    assert not look(facts(), when=when, since=NOW - HOUR).fires, "it was enabled after Monday at three"


def test_an_interval_counts_from_the_last_run() -> None:
    when = {"kind": "schedule", "every_s": 7200}
    ran = PastRun(NOW - 2 * HOUR, NOW - 2 * HOUR)
    assert look(facts(), ran, when=when).fires
    late = PastRun(NOW - HOUR, NOW - HOUR)
    assert not look(facts(), late, when=when).fires


def test_any_condition_will_do() -> None:
    when = [{"kind": "drift", "rule": "plain"}, {"kind": "data_volume", "min_samples": 5}]
    found = look(facts(captured=5), when=when)
    assert (found.fires, [one.holds for one in found.conditions]) == (True, [False, True])
    assert "captured" in found.reason
    assert "drift" not in found.reason


@pytest.mark.parametrize(
    ("history", "guard"),
    [
        ([PastRun(NOW - HOUR, None)], "one_run"),
        ([PastRun(NOW - 2 * HOUR, NOW - timedelta(minutes=59))], "cool_down"),
        ([PastRun(NOW - 24 * HOUR, NOW - 23 * HOUR), PastRun(NOW - 12 * HOUR, NOW - 11 * HOUR)], "budget"),
    ],
)
def test_a_run_that_goes_on_a_cool_down_and_a_spent_budget_hold_it_back(history: list[PastRun], guard: str) -> None:
    found = look(facts(drifted("a")), *history)
    assert (found.outcome, held_by(found)) == ("held_back", [guard])
    assert "held back" in found.reason


def test_rounds_to_come_count_against_the_budget_and_so_do_the_devices_minutes() -> None:
    guards = {"cool_down_s": 0, "budget": {"rounds": 5, "device_minutes": 10}}
    ran = PastRun(NOW - 24 * HOUR, NOW - 23 * HOUR, rounds=3, device_minutes=4)
    assert look(facts(drifted("a")), ran, guards=guards).fires, "three and two to come are five"
    more = PastRun(NOW - 24 * HOUR, NOW - 23 * HOUR, rounds=4, device_minutes=4)
    assert held_by(look(facts(drifted("a")), more, guards=guards)) == ["budget"]
    long = PastRun(NOW - 24 * HOUR, NOW - 23 * HOUR, rounds=1, device_minutes=10)
    assert held_by(look(facts(drifted("a")), long, guards=guards)) == ["budget"]
    old = PastRun(NOW - timedelta(days=8), NOW - timedelta(days=8), rounds=5, device_minutes=50)
    assert look(facts(drifted("a")), old, guards=guards).fires, "the week is over"


@pytest.mark.parametrize(
    ("start", "end", "zone", "holds"),
    [
        ("11:00", "13:00", "UTC", False),
        ("22:00", "13:00", "UTC", False),
        ("12:00", "12:00", "UTC", True),
        ("22:00", "06:00", "UTC", True),
        ("12:30", "14:00", "Europe/Berlin", False),
    ],
)
def test_quiet_hours_are_of_their_time_zone_and_may_pass_midnight(start: str, end: str, zone: str, holds: bool) -> None:
    hours = {"start": start, "end": end, "timezone": zone}
    assert look(facts(drifted("a")), guards={"quiet_hours": hours}).fires == holds


def test_an_author_who_may_not_and_a_model_that_is_busy_hold_it_back() -> None:
    assert held_by(look(facts(drifted("a"), author_may=False))) == ["author"]
    assert held_by(look(facts(drifted("a"), busy="the rollout r-1 of the model goes on"))) == ["model_busy"]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 40)), max_size=6),
    st.integers(0, 7200),
    st.integers(1, 3),
    st.booleans(),
)
def test_whatever_has_been_a_run_never_begins_within_cool_down_or_beyond_budget(
    past: list[tuple[int, int]], cool_down_s: int, runs: int, is_drifted: bool
) -> None:
    history = [
        PastRun(NOW - timedelta(hours=ago), NOW - timedelta(hours=ago) + timedelta(minutes=m)) for ago, m in past
    ]
    guards = {"cool_down_s": cool_down_s, "budget": {"runs": runs, "per_s": 86_400}}
    found = look(facts(*([drifted("a")] if is_drifted else [])), *history, guards=guards)
    recent = [run for run in history if run.began_at > NOW - timedelta(days=1)]
    too_soon = any(run.ended_at and run.ended_at + timedelta(seconds=cool_down_s) > NOW for run in history)
    assert found.fires == (is_drifted and len(recent) < runs and not too_soon)
    assert all(one.reason for one in (*found.conditions, *found.guards))
