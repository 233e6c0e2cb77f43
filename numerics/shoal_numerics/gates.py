"""The verdict of a gate: is the new version harmful, is it no worse than the old one, or is it too early to say?

Pure: the caller looks as often as it likes, keeps what was decided, and acts. Too little evidence for a test is
`not_tested`; then `gate_thresholds` has hard limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.alpha_budget import AlphaBudget, Levels
from shoal_numerics.device_comparison import Comparison, compare
from shoal_numerics.effect_bounds import EffectBounds, effect_bounds
from shoal_numerics.errors import GateError
from shoal_numerics.gate_evidence import DeviceTotals, Evidence
from shoal_numerics.gate_metrics import GateMetric, Verdict
from shoal_numerics.student_t import MIN_DEGREES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING = 1e-12
"""A standard error below this part of the values is rounding and not a difference of devices."""


@dataclass(frozen=True)
class Arm:
    """What one arm has counted since the canaries got the new version.

    Attributes:
        devices: with samples.
        samples: sum of their weights.
        value: of all of them together, in the metric's unit; NaN without samples.
        before: the same before, under the old version.
    """

    devices: int
    samples: float
    value: float
    before: float


@dataclass(frozen=True)
class MetricResult:
    """The verdict on one metric, with its numbers. NaN where nothing was tested.

    Attributes:
        metric: its settings.
        verdict: what this metric says.
        reason: why, in a sentence.
        levels: the error probabilities that the interval's ends spend, over all looks.
        canary: the canaries' counts.
        control: the controls'.
        effect: canaries less controls, adjusted for the values before, in the metric's unit.
        lower: lower end of the interval.
        upper: upper end of it.
        standard_error: of the effect.
        degrees: degrees of freedom of the standard error.
        largest_share: the largest share of its arm that one device carries.
        is_certain: not tested although enough devices told enough, as nothing varies, or nothing can get worse.
    """

    metric: GateMetric
    verdict: Verdict
    reason: str
    levels: Levels
    canary: Arm
    control: Arm
    effect: float = float("nan")
    lower: float = float("nan")
    upper: float = float("nan")
    standard_error: float = float("nan")
    degrees: float = float("nan")
    largest_share: float = float("nan")
    is_certain: bool = False


@dataclass(frozen=True)
class GateResult:
    """The verdict of a gate over its metrics.

    Attributes:
        verdict: `abort` if any metric says so; else `hold` if any does; `advance` if all that were tested do;
            `not_tested` if none was.
        reason: which metrics decided, in a sentence.
        wave: its place among those with a gate, from 0.
        alpha: the rollout's whole budget.
        alpha_spent: what the gates up to this one may have spent of it.
        metrics: in the order given.
    """

    verdict: Verdict
    reason: str
    wave: int
    alpha: float
    alpha_spent: float
    metrics: tuple[MetricResult, ...]

    @property
    def untested(self) -> tuple[str, ...]:
        """Names of the metrics that hard thresholds must decide on."""
        return tuple(found.metric.name for found in self.metrics if found.verdict == "not_tested")


def evaluate_gate(evidence: Sequence[tuple[GateMetric, Evidence]], budget: AlphaBudget, wave: int) -> GateResult:
    """Return the verdict over all metrics of a wave.

    Args:
        evidence: each metric with what devices have counted so far.
        budget: of the rollout, fixed when it started; it names exactly these metrics.
        wave: its place among those with a gate, from 0.

    Raises:
        GateError: the budget has other metrics, or nothing for this wave; see `evaluate_metric`.
    """
    names = sorted(metric.name for metric, _ in evidence)
    expected = sorted(name for name, _ in budget.metric_weights)
    if names != expected:
        message = f"Evaluating a gate: found the metrics {names}, expected {expected}, as the alpha budget has them."
        raise GateError(message)
    results = tuple(evaluate_metric(metric, found, budget.levels(metric.name, wave)) for metric, found in evidence)
    verdict = _combined({result.verdict for result in results})
    deciding = ", ".join(result.metric.name for result in results if result.verdict == verdict)
    untested = ", ".join(result.metric.name for result in results if result.verdict == "not_tested")
    reason = f"{verdict} by {deciding}"
    if untested and verdict != "not_tested":
        reason += f"; not tested: {untested}"
    return GateResult(verdict, reason, wave, budget.alpha, budget.spent(wave), results)


def _combined(verdicts: set[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("abort", "hold", "advance")
    return next((verdict for verdict in order if verdict in verdicts), "not_tested")


def evaluate_metric(metric: GateMetric, evidence: Evidence, levels: Levels) -> MetricResult:
    """Return the verdict on one metric, valid at each of any number of looks.

    Harm above the tolerance aborts even where it is surely below the margin: what may be lost is said by the
    tolerance, and the margin by how much worse an unharmed version might look.

    Args:
        metric: its settings, fixed when the rollout started.
        evidence: totals of (devices,) each.
        levels: what it may spend, of the rollout's budget.

    Raises:
        GateError: totals of another shape, or shares and counts that cannot be.
    """
    if evidence.after.weight.ndim != 1:
        message = f"Evaluating {metric.name!r}: totals are {evidence.after.weight.shape}, expected (devices,)."
        raise GateError(message)
    for totals in (evidence.before, evidence.after):
        _check_possible(metric, totals)
    canary, control = _arms(evidence)
    if lacking := _lacking(metric, canary, control):
        return MetricResult(metric, "not_tested", lacking, levels, canary, control)
    comparison = compare(evidence, metric.kind, metric.max_device_share)
    if certain := _certain(metric, control, comparison, evidence):
        return MetricResult(metric, "not_tested", certain, levels, canary, control, is_certain=True)
    if comparison.degrees < MIN_DEGREES:
        lacking = (
            f"so few devices carry the comparison that it has {float(comparison.degrees):.1f} degrees of freedom, "
            f"a test needs {MIN_DEGREES:g}"
        )
        return MetricResult(metric, "not_tested", lacking, levels, canary, control)
    bounds = effect_bounds(metric, comparison, levels)
    verdict = _verdict(bounds)
    return MetricResult(
        metric=metric,
        verdict=verdict,
        reason=_reason(metric, bounds, verdict),
        levels=levels,
        canary=canary,
        control=control,
        effect=float(comparison.effect),
        lower=float(bounds.lower),
        upper=float(bounds.upper),
        standard_error=float(bounds.standard_error),
        degrees=float(comparison.degrees),
        largest_share=float(comparison.largest_share),
    )


def _verdict(bounds: EffectBounds) -> Verdict:
    if bounds.is_harm:
        return "abort"
    return "advance" if bounds.is_ruled_out else "hold"


def _check_possible(metric: GateMetric, totals: DeviceTotals) -> None:
    if metric.kind == "mean":
        return
    if (totals.numerator < 0).any() or (totals.numerator[totals.weight == 0] > 0).any():
        message = f"Evaluating {metric.name!r}: found events below 0, or of a device without samples."
        raise GateError(message)
    if metric.kind == "share" and (totals.numerator > totals.weight * (1 + _ROUNDING)).any():
        message = f"Evaluating {metric.name!r}: a device has more events than samples, so it is no share."
        raise GateError(message)


def _arms(evidence: Evidence) -> tuple[Arm, Arm]:
    """Return the sums of canaries and controls."""
    is_in = np.stack([evidence.is_canary, ~evidence.is_canary], axis=-1).astype(np.float64)
    devices = (evidence.after.weight > 0).astype(np.float64) @ is_in
    before, after = (_sums(totals, is_in) for totals in (evidence.before, evidence.after))
    canary, control = (
        Arm(int(devices[arm]), float(after[1][arm]), _ratio(after, arm), _ratio(before, arm)) for arm in (0, 1)
    )
    return canary, control


def _sums(totals: DeviceTotals, is_in: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return totals.numerator @ is_in, totals.weight @ is_in


def _ratio(sums: tuple[NDArray[np.float64], NDArray[np.float64]], arm: int) -> float:
    numerator, weight = float(sums[0][arm]), float(sums[1][arm])
    return numerator / weight if weight > 0 else float("nan")


def _lacking(metric: GateMetric, canary: Arm, control: Arm) -> str:
    """Return what is missing for a test, "" if nothing."""
    for name, arm in (("canaries", canary), ("controls", control)):
        if arm.devices < metric.min_devices:
            return f"{arm.devices} {name} have samples, a test needs {metric.min_devices}"
        if arm.samples < metric.min_samples:
            return f"the {name} have {arm.samples:g} samples, a test needs {metric.min_samples:g}"
    return ""


def _certain(metric: GateMetric, control: Arm, comparison: Comparison, evidence: Evidence) -> str:
    """Return why there is nothing to be unsure of, "" if there is."""
    if metric.kind == "share" and control.value == {"higher": 1.0, "lower": 0.0}.get(metric.worse):
        return f"the controls are at {control.value:g} already, which cannot get worse"
    size = float(np.abs(evidence.after.values).max(initial=0.0))
    if metric.kind == "mean" and np.sqrt(comparison.variance) <= _ROUNDING * size:
        return "all devices of an arm have the same value, so there is no variance to compare with"
    return ""


def _reason(metric: GateMetric, bounds: EffectBounds, verdict: Verdict) -> str:
    interval = f"the effect lies between {float(bounds.lower):.4g} and {float(bounds.upper):.4g}"
    limit = f"{metric.worse} is worse, tolerated is {metric.tolerance:g}, the margin is {metric.margin:g}"
    found = {
        "abort": "harm above the tolerance",
        "advance": "harm as large as the margin is ruled out",
    }.get(verdict, "neither harm is shown nor ruled out")
    return f"{found}: {interval} ({limit})"
