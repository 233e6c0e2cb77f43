"""From evidence to a verdict: harm aborts, its absence advances, and what can not be tested is left to hard limits."""

from typing import Any

import numpy as np
import pytest

from shoal_hub.gates.decide import ArmSizes, Decision, decide
from shoal_hub.gates.plan import GatePlan
from shoal_numerics import DeviceTotals, Evidence


def errors(canary: float, control: float, *, devices: int = 20, requests: int = 2000, seed: int = 0) -> Evidence:
    """Draw errors of devices on both sides, at these rates."""
    random = np.random.default_rng(seed)
    is_canary = np.arange(2 * devices) < devices
    rates = np.where(is_canary, canary, control)
    weight = np.full(2 * devices, float(requests))
    before = DeviceTotals(random.binomial(requests, control, 2 * devices).astype(float), weight)
    return Evidence(before, DeviceTotals(random.binomial(requests, rates).astype(float), weight), is_canary)


def decided(evidence: Evidence, *, is_overdue: bool = False, arms: ArmSizes | None = None, **plan: Any) -> Decision:
    made = GatePlan.model_validate({"metrics": [{"name": "error_rate", "margin": 0.02}]} | plan)
    canaries = int(evidence.is_canary.sum())
    sizes = arms or ArmSizes(canaries, len(evidence.is_canary) - canaries)
    read = [(made.metric(made.metrics[0]), evidence)]
    return decide(made, read, arms=sizes, gates=2, wave=0, is_overdue=is_overdue)


def heard_of(evidence: Evidence, canaries: int, controls: int) -> Evidence:
    """Return the same with samples of so many devices of each side only."""
    place = np.where(evidence.is_canary, np.cumsum(evidence.is_canary), np.cumsum(~evidence.is_canary))
    is_heard = place <= np.where(evidence.is_canary, canaries, controls)
    after = DeviceTotals(evidence.after.numerator * is_heard, evidence.after.weight * is_heard)
    return Evidence(evidence.before, after, evidence.is_canary)


def test_harm_that_is_shown_aborts_with_its_numbers() -> None:
    found = decided(errors(0.10, 0.05))
    assert (found.verdict, found.tested) == ("abort", "abort")
    (metric,) = found.metrics
    assert 0.04 < metric["effect"] < 0.06
    assert 0 < metric["lower"] < metric["effect"] < metric["upper"]
    assert (metric["canary"]["devices"], metric["control"]["samples"]) == (20, 40_000)
    assert found.alpha_spent == pytest.approx(0.025)


def test_a_version_that_is_surely_no_worse_goes_on() -> None:
    found = decided(errors(0.05, 0.05))
    assert (found.verdict, found.tested) == ("advance", "advance")


def test_what_is_neither_shown_nor_ruled_out_is_held() -> None:
    assert decided(errors(0.06, 0.05, requests=100)).verdict == "hold"


@pytest.mark.parametrize(
    ("canary", "verdict", "words"), [(0.05, "advance", "not tested"), (0.12, "abort", "not tested, canaries differ")]
)
def test_a_fleet_too_small_for_a_test_is_decided_by_the_hard_limit_and_shown_as_not_tested(
    canary: float, verdict: str, words: str
) -> None:
    found = decided(errors(canary, 0.05, devices=3))
    assert (found.verdict, found.tested) == (verdict, "not_tested")
    assert words in found.reason
    assert found.metrics[0]["limit"]["verdict"] == verdict


def test_without_samples_a_small_fleet_waits() -> None:
    found = decided(errors(0.05, 0.05, devices=3, requests=10))
    assert (found.verdict, found.tested) == ("hold", "not_tested")


@pytest.mark.parametrize("canary", [0.02, 0.05, 0.3])
def test_the_first_canaries_of_a_large_wave_decide_nothing_as_they_arrive_one_by_one(canary: float) -> None:
    evidence = errors(canary, 0.05, devices=40)
    for arrived in range(1, 10):
        found = decided(heard_of(evidence, arrived, 40))
        assert (found.verdict, found.tested, found.metrics[0]["limit"]["verdict"]) == ("hold", "not_tested", "hold")
    assert f"{arrived} canaries have samples" in found.reason
    assert decided(heard_of(evidence, 40, 40)).verdict == ("abort" if canary > 0.05 else "advance")


def test_where_labels_come_back_from_few_of_many_devices_only_the_wave_s_time_lets_the_limit_decide() -> None:
    few = heard_of(errors(0.3, 0.05, devices=40), 5, 5)
    assert decided(few).verdict == "hold"
    assert (decided(few, is_overdue=True).verdict, decided(few, is_overdue=True).tested) == ("abort", "not_tested")


@pytest.mark.parametrize(("canary", "verdict"), [(50.0, "advance"), (50.5, "advance"), (60.0, "abort")])
def test_where_all_devices_of_a_side_say_the_same_the_limit_decides_at_once(canary: float, verdict: str) -> None:
    is_canary, weight = np.arange(40) < 20, np.full(40, 100.0)
    degrees = DeviceTotals(np.where(is_canary, canary, 50.0) * weight, weight)
    before = DeviceTotals(np.full(40, 50.0) * weight, weight)
    found = decided(Evidence(before, degrees, is_canary), metrics=[{"name": "temperature"}])
    assert (found.verdict, found.tested) == (verdict, "not_tested")


def test_few_controls_leave_it_to_the_limit_but_not_before_enough_of_many_canaries_are_heard_of() -> None:
    evidence, arms = errors(0.3, 0.05, devices=40), ArmSizes(40, 3)
    assert decided(heard_of(evidence, 9, 3), arms=arms).verdict == "hold"
    assert (decided(heard_of(evidence, 10, 3), arms=arms).verdict) == "abort"


@pytest.mark.parametrize(
    ("undecided", "canary", "verdict"),
    [
        ("hold", 0.06, "hold"),
        ("abort", 0.06, "abort"),
        ("thresholds", 0.06, "advance"),
        ("thresholds", 0.09, "abort"),
    ],
)
def test_a_wave_that_was_held_for_its_time_is_decided_as_the_plan_says(
    undecided: str, canary: float, verdict: str
) -> None:
    evidence = errors(canary, 0.05, devices=10, requests=40, seed=3)
    assert decided(evidence, undecided=undecided).verdict == "hold"
    found = decided(evidence, undecided=undecided, is_overdue=True)
    assert (found.verdict, found.tested) == (verdict, "hold")


def test_a_look_can_be_kept_as_json_whatever_it_found() -> None:
    nothing = np.zeros(6)
    found = decided(Evidence(DeviceTotals(nothing, nothing), DeviceTotals(nothing, nothing), np.arange(6) < 3))
    assert found.metrics[0]["canary"]["value"] is None
    assert found.metrics[0]["effect"] is None
