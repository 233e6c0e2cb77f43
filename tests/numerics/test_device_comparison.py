"""The estimate against textbook matrices, and its laws: order, units, devices that say nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import DeviceTotals, Evidence
from shoal_numerics.device_comparison import Comparison, MetricKind, compare

SEEDS = st.integers(0, 10_000)


def some_evidence(seed: int, devices: int = 24, scale: float = 1.0) -> Evidence:
    """Return measurements of devices that differ, half of them canaries."""
    random = np.random.default_rng(seed)
    own = random.normal(50, 5, devices)
    before, after = (random.integers(1, 200, devices).astype(np.float64) for _ in range(2))
    sums = [weight * (own + random.normal(0, 2 + 10 / np.sqrt(weight))) for weight in (before, after)]
    is_canary = np.arange(devices) % 2 == 0
    return Evidence(DeviceTotals(scale * sums[0], before), DeviceTotals(scale * sums[1], after), is_canary)


def picked(evidence: Evidence, order: np.ndarray) -> Evidence:
    before, after = (
        DeviceTotals(part.numerator[order], part.weight[order]) for part in (evidence.before, evidence.after)
    )
    return Evidence(before, after, evidence.is_canary[order])


def numbers(found: Comparison) -> list[float]:
    scalars = (found.effect, found.variance, *found.sampling, found.degrees, found.slope, found.largest_share)
    return [float(value) for value in scalars]


def textbook(
    values: np.ndarray, covariate: np.ndarray, is_canary: np.ndarray, weight: np.ndarray
) -> tuple[float, float, float]:
    """Return effect, HC2 variance and Bell-McCaffrey degrees of freedom of weighted least squares, by matrices."""
    root = np.sqrt(weight)
    design = np.column_stack([np.ones_like(values), is_canary, covariate]) * root[:, np.newaxis]
    solved = np.linalg.inv(design.T @ design) @ design.T
    hat = design @ solved
    residuals = root * values - hat @ (root * values)
    factors = solved[1] ** 2 / (1 - np.diag(hat))
    projection = np.eye(len(values)) - hat
    product = projection @ np.diag(factors)
    degrees = np.trace(product) ** 2 / np.trace(product @ product)
    return float(solved[1] @ (root * values)), float((factors * residuals**2).sum()), float(degrees)


@pytest.mark.parametrize("seed", range(5))
def test_effect_variance_and_degrees_are_the_textbooks(seed: int) -> None:
    evidence = some_evidence(seed)
    equal = np.full(24, 100.0)
    before, after = evidence.before.values * equal, evidence.after.values * equal
    found = compare(Evidence(DeviceTotals(before, equal), DeviceTotals(after, equal), evidence.is_canary), "mean", 0.2)
    expected = textbook(evidence.after.values, evidence.before.values, evidence.is_canary, np.ones(24))
    assert (found.effect, found.variance, found.degrees) == pytest.approx(expected)
    assert found.largest_share == pytest.approx(1 / 12)


def test_unequal_weights_are_the_textbooks_too() -> None:
    random = np.random.default_rng(5)
    samples = random.integers(50, 150, 24).astype(np.float64)
    before = DeviceTotals(np.zeros(24), np.zeros(24))
    after = DeviceTotals(np.round(samples * 0.05 + np.arange(24) % 3), samples)
    is_canary = np.arange(24) < 12
    found = compare(Evidence(before, after, is_canary), "share", 1.0)
    # Errors are spread as evenly as chance does or more so: weights are the samples. Nothing is known of before.
    effect = after.numerator[:12].sum() / samples[:12].sum() - after.numerator[12:].sum() / samples[12:].sum()
    assert found.effect == pytest.approx(effect)
    assert found.slope == 0
    assert found.sampling == pytest.approx((1 / samples[:12].sum(), 1 / samples[12:].sum()))
    _, variance, degrees = textbook(after.values, random.normal(size=24), is_canary, samples)
    # The textbook's one has a covariate that says nothing.
    assert found.variance == pytest.approx(variance, rel=0.2)
    assert found.degrees == pytest.approx(degrees, rel=0.1)


@given(SEEDS, SEEDS)
def test_the_order_of_devices_does_not_matter(seed: int, drawn: int) -> None:
    order = np.random.default_rng(drawn).permutation(24)
    evidence = some_evidence(seed)
    again = compare(picked(evidence, order), "mean", 0.2)
    assert numbers(again) == pytest.approx(numbers(compare(evidence, "mean", 0.2)), rel=1e-6, abs=1e-9)


@given(SEEDS, st.floats(1e-3, 1e3))
def test_the_effect_is_of_the_metrics_unit(seed: int, scale: float) -> None:
    plain, scaled = (compare(some_evidence(seed, scale=factor), "mean", 0.2) for factor in (1.0, scale))
    assert scaled.effect == pytest.approx(scale * plain.effect, rel=1e-6, abs=1e-9 * scale)
    assert scaled.variance == pytest.approx(scale**2 * plain.variance, rel=1e-6)
    assert scaled.degrees == pytest.approx(plain.degrees, rel=1e-6)


@given(SEEDS, st.sampled_from(["share", "count", "mean"]))
def test_devices_that_have_said_nothing_do_not_count(seed: int, kind: MetricKind) -> None:
    evidence = some_evidence(seed, scale=0.01)
    silent = 6
    before, after = (
        DeviceTotals(np.append(part.numerator, np.zeros(silent)), np.append(part.weight, np.zeros(silent)))
        for part in (evidence.before, evidence.after)
    )
    more = Evidence(before, after, np.append(evidence.is_canary, np.arange(silent) < 3))
    assert numbers(compare(more, kind, 0.2)) == pytest.approx(numbers(compare(evidence, kind, 0.2)), rel=1e-6)


@given(SEEDS, st.floats(-20, 20))
def test_a_shift_of_all_canaries_is_the_effect(seed: int, shift: float) -> None:
    evidence = some_evidence(seed)
    moved = evidence.after.numerator + np.where(evidence.is_canary, shift, 0.0) * evidence.after.weight
    after = compare(
        Evidence(evidence.before, DeviceTotals(moved, evidence.after.weight), evidence.is_canary), "mean", 0.2
    )
    plain = compare(evidence, "mean", 0.2)
    assert after.effect - plain.effect == pytest.approx(shift, abs=1e-9)
    assert after.variance == pytest.approx(plain.variance, rel=1e-6)


def test_many_rollouts_at_once_are_the_same_as_each_alone() -> None:
    rows = [some_evidence(seed, scale=0.01) for seed in range(6)]
    before, after = (
        DeviceTotals(
            np.stack([getattr(row, name).numerator for row in rows]),
            np.stack([getattr(row, name).weight for row in rows]),
        )
        for name in ("before", "after")
    )
    for kind in ("share", "count", "mean"):
        together = compare(Evidence(before, after, rows[0].is_canary), kind, 0.15)
        for place, row in enumerate(rows):
            alone = compare(row, kind, 0.15)
            assert together.effect[place] == pytest.approx(alone.effect, rel=1e-9)
            assert together.variance[place] == pytest.approx(alone.variance, rel=1e-9)
            assert together.degrees[place] == pytest.approx(alone.degrees, rel=1e-9)


def shares(device_sd: float, seed: int) -> Evidence:
    random = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(3 - random.normal(0, device_sd, 40)))
    counts = [DeviceTotals(random.binomial(400, chance).astype(np.float64), np.full(40, 400.0)) for _ in range(2)]
    return Evidence(counts[0], counts[1], np.arange(40) < 20)


def error_of(effects: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(effects))))


@pytest.mark.parametrize(("device_sd", "than_difference", "than_after"), [(0.0, 0.8, 1.05), (0.5, 0.99, 0.75)])
def test_adjusting_is_better_than_a_difference_of_differences_and_than_after_alone(
    device_sd: float, than_difference: float, than_after: float
) -> None:
    rows = [shares(device_sd, seed) for seed in range(400)]
    adjusted = error_of([float(compare(row, "share", 0.2).effect) for row in rows])
    change = [row.after.values - row.before.values for row in rows]
    differences = error_of([float(one[:20].mean() - one[20:].mean()) for one in change])
    alone = error_of([float(row.after.values[:20].mean() - row.after.values[20:].mean()) for row in rows])
    assert adjusted < than_difference * differences
    assert adjusted < than_after * alone


@pytest.mark.parametrize("device_sd", [0.0, 0.5])
def test_the_variance_is_that_of_the_effect(device_sd: float) -> None:
    found = [compare(shares(device_sd, seed), "share", 0.2) for seed in range(600)]
    true = np.mean([float(one.effect) ** 2 for one in found])
    assert np.mean([float(one.variance) for one in found]) == pytest.approx(true, rel=0.15)
