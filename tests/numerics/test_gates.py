"""Verdicts: right and wrong ones on simulated rollouts, their laws, and what cannot be tested."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.simulators.gated_traffic import Traffic, looks

from shoal_numerics import (
    AlphaBudget,
    DeviceTotals,
    Evidence,
    GateError,
    GateMetric,
    Levels,
    MetricResult,
    evaluate_gate,
    evaluate_metric,
)
from shoal_numerics.device_comparison import compare
from shoal_numerics.effect_bounds import EffectBounds, effect_bounds
from shoal_numerics.sequential import boundary, mixing_precision
from shoal_numerics.student_t import student_score

ERRORS = GateMetric("error_rate", "share", margin=0.01)
HEAT = GateMetric("temperature", "mean", margin=2.0)
LEVELS = Levels(abort=0.05, advance=0.05)
ORDER = ("advance", "hold", "abort")
SEEDS = st.integers(0, 10_000)


def bounds_of(evidence: Evidence, levels: Levels = LEVELS, metric: GateMetric = ERRORS) -> EffectBounds:
    return effect_bounds(metric, compare(evidence, metric.kind, metric.max_device_share), levels)


def ever(traffic: Traffic, levels: Levels, rollouts: int = 1000) -> tuple[float, float]:
    """Return the shares of rollouts whose bounds ever found harm, and ever ruled it out."""
    harm, ruled_out = np.zeros(rollouts, dtype=bool), np.zeros(rollouts, dtype=bool)
    for evidence in looks(traffic, rollouts, seed=5):
        found = bounds_of(evidence, levels)
        harm |= found.is_harm
        ruled_out |= found.is_ruled_out
    return float(harm.mean()), float(ruled_out.mean())


@pytest.mark.parametrize("traffic", [Traffic(windows=60), Traffic(windows=60, device_sd=0.5, has_day=True)])
def test_a_good_version_looked_at_sixty_times_is_rarely_aborted(traffic: Traffic) -> None:
    assert ever(traffic, LEVELS)[0] <= 0.025
    # The same simulation finds a gate that spends twice as much.
    assert ever(traffic, Levels(abort=0.1, advance=0.05))[0] > 0.025


def test_a_version_worse_by_the_margin_rarely_advances() -> None:
    traffic = Traffic(windows=60, device_sd=0.3, has_day=True, new_rate=0.06)
    assert ever(traffic, LEVELS)[1] <= 0.025
    assert ever(traffic, Levels(abort=0.05, advance=0.1))[1] > 0.025


def test_a_regression_aborts_and_a_good_version_advances() -> None:
    fleet = Traffic(60, 60, windows=40, requests=30, device_sd=0.3, has_day=True)
    assert ever(replace(fleet, new_rate=0.07), LEVELS, 200)[0] >= 0.99
    assert ever(fleet, LEVELS, 200)[1] >= 0.95


def test_a_verdict_is_that_of_the_bounds_of_many_rollouts_at_once() -> None:
    verdicts = set()
    for evidence in looks(Traffic(windows=12, device_sd=0.5, new_rate=0.1), 12, seed=3):
        together = bounds_of(evidence)
        for row in range(12):
            before, after = (DeviceTotals(p.numerator[row], p.weight[row]) for p in (evidence.before, evidence.after))
            found = evaluate_metric(ERRORS, Evidence(before, after, evidence.is_canary), LEVELS)
            assert (found.lower, found.upper) == pytest.approx((together.lower[row], together.upper[row]))
            assert (found.verdict == "abort") == together.is_harm[row]
            verdicts.add(found.verdict)
    assert verdicts == {"abort", "hold"}


def measured(seed: int, shift: float = 0.0, scale: float = 1.0, devices: int = 30) -> Evidence:
    """Return temperatures of devices that differ; canaries are `shift` warmer after."""
    random = np.random.default_rng(seed)
    own, is_canary = random.normal(50, 5, devices), np.arange(devices) % 3 == 0
    weight = random.integers(20, 200, devices).astype(np.float64)
    before, after = (own + random.normal(0, 1, devices) for _ in range(2))
    after = after + shift * is_canary
    return Evidence(
        DeviceTotals(scale * before * weight, weight), DeviceTotals(scale * after * weight, weight), is_canary
    )


def evaluated(evidence: Evidence, metric: GateMetric = HEAT) -> MetricResult:
    return evaluate_metric(metric, evidence, LEVELS)


@given(SEEDS, st.floats(-10, 10), st.floats(0, 10))
def test_more_harm_never_turns_a_verdict_to_the_better(seed: int, shift: float, more: float) -> None:
    first, second = evaluated(measured(seed, shift)), evaluated(measured(seed, shift + more))
    assert ORDER.index(second.verdict) >= ORDER.index(first.verdict)
    assert second.lower >= first.lower - 1e-9


@given(SEEDS, st.integers(0, 399), st.integers(1, 5))
def test_more_errors_of_all_canaries_never_make_an_aborted_one_advance(seed: int, errors: int, more: int) -> None:
    random = np.random.default_rng(seed)
    weight, is_canary = np.full(30, 400.0), np.arange(30) < 15
    counted = random.binomial(400, 0.05, 30).astype(np.float64)
    before = DeviceTotals(random.binomial(400, 0.05, 30).astype(np.float64), weight)

    def with_more(number: int) -> MetricResult:
        after = DeviceTotals(np.minimum(counted + number * is_canary, 400.0), weight)
        return evaluated(Evidence(before, after, is_canary), ERRORS)

    if with_more(errors).verdict == "abort":
        assert with_more(errors + more).verdict == "abort"


@given(SEEDS, st.floats(-4, 4), st.floats(0.01, 100))
def test_a_metric_of_another_unit_has_the_same_verdict(seed: int, shift: float, scale: float) -> None:
    plain = evaluated(measured(seed, shift))
    assume(min(abs(plain.lower), abs(plain.upper - HEAT.margin)) > 1e-6)
    scaled = evaluated(measured(seed, shift, scale), replace(HEAT, margin=HEAT.margin * scale))
    assert scaled.verdict == plain.verdict
    assert (scaled.lower, scaled.upper) == pytest.approx((scale * plain.lower, scale * plain.upper), rel=1e-6)


@given(SEEDS, st.floats(-4, 4))
def test_lower_is_worse_is_the_mirror_of_higher_is_worse(seed: int, shift: float) -> None:
    plain, mirrored = measured(seed, shift), measured(seed, shift, scale=-1.0)
    found, other = evaluated(plain), evaluated(mirrored, replace(HEAT, worse="lower"))
    assert other.verdict == found.verdict
    assert (-other.upper, -other.lower) == pytest.approx((found.lower, found.upper))


@pytest.mark.parametrize(("shift", "verdict"), [(9.0, "abort"), (-9.0, "abort"), (0.0, "advance")])
def test_a_shift_to_either_side_is_harm_where_either_is_worse(shift: float, verdict: str) -> None:
    found = evaluated(measured(1, shift, devices=300), replace(HEAT, worse="either"))
    assert found.verdict == verdict
    z = boundary(1 / found.standard_error**2, LEVELS.abort / 2, mixing_precision(LEVELS.abort / 2, HEAT.margin))
    farthest = found.standard_error * student_score(z, found.degrees)
    assert found.upper - found.effect == pytest.approx(found.effect - found.lower)
    assert found.upper - found.effect >= farthest * (1 - 1e-9)


@given(SEEDS, st.floats(-1e9, 1e9), st.floats(1.0, 1e9))
def test_one_device_alone_never_aborts_whatever_it_says_and_how_often(seed: int, value: float, weight: float) -> None:
    plain = measured(seed)
    assume(evaluated(plain).lower < -0.5)
    numerator, weights = plain.after.numerator.copy(), plain.after.weight.copy()
    numerator[0], weights[0] = value * weight, weight
    found = evaluated(Evidence(plain.before, DeviceTotals(numerator, weights), plain.is_canary))
    assert found.verdict != "abort"
    if found.verdict != "not_tested":
        assert found.largest_share <= HEAT.max_device_share * (1 + 1e-9)


def test_a_tolerated_harm_does_not_abort() -> None:
    evidence = measured(1, 1.0, devices=3000)
    found = evaluated(evidence)
    assert found.verdict == "abort"
    assert 0 < found.lower < found.upper < HEAT.margin
    assert evaluated(evidence, replace(HEAT, tolerance=1.5)).verdict == "advance"


def test_no_error_at_all_advances_only_after_enough_requests() -> None:
    def silent(requests: float) -> Evidence:
        none = DeviceTotals(np.zeros(20), np.full(20, requests))
        return Evidence(none, none, np.arange(20) < 10)

    # With the rate at the margin, 300 requests would have no error with probability 0.05, and 3,000 with 1e-13.
    assert evaluated(silent(30.0), ERRORS).verdict == "hold"
    assert evaluated(silent(300.0), ERRORS).verdict == "advance"


def counts(canary: float, control: float, devices: int = 20, requests: float = 50.0) -> Evidence:
    is_canary, weight = np.arange(devices) < devices // 2, np.full(devices, requests)
    before = DeviceTotals(control * weight, weight)
    return Evidence(before, DeviceTotals(np.where(is_canary, canary, control) * weight, weight), is_canary)


@pytest.mark.parametrize(
    ("evidence", "metric", "reason"),
    [
        (counts(0.0, 0.0, devices=0), ERRORS, "0 canaries have samples, a test needs 10"),
        (counts(0.0, 0.0, devices=18), ERRORS, "9 canaries have samples"),
        (counts(0.0, 0.0, requests=0.0), ERRORS, "0 canaries have samples"),
        (counts(0.0, 0.0, requests=9.0), ERRORS, "the canaries have 90 samples, a test needs 100"),
        (counts(1.0, 1.0), ERRORS, "the controls are at 1 already, which cannot get worse"),
        (counts(0.0, 0.0), replace(ERRORS, worse="lower"), "the controls are at 0 already"),
        (counts(50.0, 50.0), HEAT, "all devices of an arm have the same value"),
    ],
)
def test_too_little_evidence_is_not_tested_and_says_why(evidence: Evidence, metric: GateMetric, reason: str) -> None:
    found = evaluated(evidence, metric)
    assert found.verdict == "not_tested"
    assert found.reason.startswith(reason)
    assert math.isnan(found.effect)


def test_a_comparison_that_two_devices_carry_is_not_tested() -> None:
    requests = np.where(np.arange(20) % 10 < 2, 10_000.0, 20.0)
    errors = np.round(requests * 0.05 + np.arange(20) % 2)
    evidence = Evidence(DeviceTotals(np.zeros(20), np.zeros(20)), DeviceTotals(errors, requests), np.arange(20) < 10)
    found = evaluated(evidence, replace(ERRORS, max_device_share=0.5))
    assert found.verdict == "not_tested"
    assert found.reason.startswith("so few devices carry the comparison that it has 2.1 degrees of freedom")
    assert evaluated(evidence, replace(ERRORS, max_device_share=0.1)).verdict == "hold"


def test_the_interval_of_few_devices_is_that_of_students_law() -> None:
    found = evaluated(measured(2, devices=60))
    z_harm, z_margin = (
        boundary(1 / found.standard_error**2, 0.05, mixing_precision(0.05, distance)) for distance in (4.0, 2.0)
    )
    assert found.degrees < 60
    assert found.effect - found.lower == pytest.approx(found.standard_error * student_score(z_harm, found.degrees))
    assert found.upper - found.effect == pytest.approx(found.standard_error * student_score(z_margin, found.degrees))


def test_canaries_that_all_fail_abort() -> None:
    found = evaluated(counts(1.0, 0.0), ERRORS)
    assert found.verdict == "abort"
    assert (found.canary.value, found.control.value, found.canary.devices, found.control.samples) == (1, 0, 10, 500)
    assert found.reason.startswith("harm above the tolerance: the effect lies between")


def test_evidence_that_cannot_be_is_refused() -> None:
    with pytest.raises(GateError, match="more events than samples"):
        evaluated(counts(1.1, 0.0), ERRORS)
    with pytest.raises(GateError, match="events below 0"):
        evaluated(counts(-0.1, 0.0), ERRORS)
    with pytest.raises(GateError, match=r"expected \(devices,\)"):
        evaluated(next(looks(Traffic(), 2, seed=1)), ERRORS)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"margin": 0.0}, "0 <= tolerance < margin"),
        ({"margin": math.nan}, "0 <= tolerance < margin"),
        ({"tolerance": 0.01}, "0 <= tolerance < margin"),
        ({"min_devices": 0}, "more than 0"),
        ({"min_samples": math.nan}, "more than 0"),
        ({"min_devices": 4}, "Set max_device_share to 0.25 or more"),
        ({"max_device_share": 1.5}, "at most 1"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float], reason: str) -> None:
    with pytest.raises(GateError, match=reason):
        replace(ERRORS, **wrong)


def test_a_gate_aborts_by_one_metric_and_advances_by_all() -> None:
    budget = AlphaBudget.even(0.05, ("error_rate", "temperature"), waves=2)
    good, bad = measured(1, -8.0, devices=300), measured(1, 8.0, devices=300)
    silent, quiet = counts(0.0, 0.0, requests=1000.0), counts(0.0, 0.0, requests=9.0)
    gates = {
        ("advance", "advance by error_rate, temperature"): (silent, good),
        ("abort", "abort by temperature"): (silent, bad),
        ("hold", "hold by temperature"): (silent, measured(1, 1.5)),
        ("advance", "advance by temperature; not tested: error_rate"): (quiet, good),
        ("not_tested", "not_tested by error_rate, temperature"): (quiet, counts(50.0, 50.0)),
    }
    for expected, (errors, heat) in gates.items():
        found = evaluate_gate([(ERRORS, errors), (HEAT, heat)], budget, wave=1)
        assert (found.verdict, found.reason) == expected
        assert (found.alpha, found.alpha_spent, found.wave) == (0.05, pytest.approx(0.05), 1)
        assert [result.levels.abort for result in found.metrics] == [0.0125, 0.0125]
    assert evaluate_gate([(ERRORS, quiet), (HEAT, good)], budget, 0).untested == ("error_rate",)


def test_a_gate_with_other_metrics_than_its_budget_is_refused() -> None:
    with pytest.raises(GateError, match=r"found the metrics \['error_rate'\], expected \['latency'\]"):
        evaluate_gate([(ERRORS, counts(0.0, 0.0))], AlphaBudget.even(0.05, ("latency",)), 0)
