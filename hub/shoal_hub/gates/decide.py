"""From evidence to what the rollout does: the statistics where they can tell, else hard limits, else time. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shoal_hub.gates.plan import FORMS, GatePlan
from shoal_hub.gates.tables import GateVerdict
from shoal_numerics import (
    Arm,
    DifferenceLimit,
    Evidence,
    GateMetric,
    GateResult,
    MetricResult,
    ThresholdResult,
    evaluate_gate,
)


class ArmSizes(NamedTuple):
    """Devices of the plan on each side of a gate, whether or not they have told anything yet."""

    canaries: int
    controls: int


@dataclass(frozen=True)
class Decision:
    """What a look comes to.

    Attributes:
        verdict: What the rollout goes by.
        tested: What the statistics alone say: advance, hold, abort or not_tested.
        reason: Why, for a person.
        alpha_spent: What the gates up to this one may have spent of the budget.
        metrics: Each metric's numbers, as JSON.
    """

    verdict: GateVerdict
    tested: str
    reason: str
    alpha_spent: float
    metrics: list[dict[str, Any]]


def decide(
    plan: GatePlan,
    evidence: Sequence[tuple[GateMetric, Evidence]],
    *,
    arms: ArmSizes,
    gates: int,
    wave: int,
    is_overdue: bool,
) -> Decision:
    """Return what the rollout does.

    Harm that is shown aborts. Where a side is too small for a test by the plan, or nothing varies, an untested metric
    is left to its hard limit, the margin; what is untested for another reason is held, since a limit knows no alpha.
    The whole gate is left to limits where that is what the plan says of a wave that was held for its time.

    Args:
        plan: The gate's plan.
        evidence: Each metric with what both sides have counted.
        arms: How many devices may come to have samples.
        gates: Gates of the rollout, between which alpha is split.
        wave: This one's place among them.
        is_overdue: Whether the wave was held as long as the plan allows.
    """
    result = evaluate_gate(evidence, plan.budget(gates), wave)
    limits = {
        one.metric.name: _limit_of_untested(one, found, arms)
        for one, (_, found) in zip(result.metrics, evidence, strict=True)
        if one.verdict == "not_tested"
    }
    verdict, reason = _combine(result, limits)
    if verdict == "hold" and is_overdue and plan.undecided != "hold":
        verdict, reason = _overdue(plan, evidence)
    metrics = [_shown(one, limits.get(one.metric.name)) for one in result.metrics]
    return Decision(verdict, result.verdict, reason, result.alpha_spent, metrics)


def _combine(result: GateResult, limits: dict[str, ThresholdResult]) -> tuple[GateVerdict, str]:
    """Return what the statistics say, and the hard limits of what they could not test."""
    if result.verdict == "abort":
        return "abort", _reason(result, "abort")
    broken = {name: found for name, found in limits.items() if found.verdict == "abort"}
    if broken:
        return "abort", "; ".join(f"{name}: not tested, {found.reason}" for name, found in broken.items())
    waiting = {name: found for name, found in limits.items() if found.verdict == "hold"}
    if result.verdict == "hold":
        return "hold", _reason(result, "hold")
    if waiting:
        return "hold", "; ".join(f"{name}: not tested, {found.reason}" for name, found in waiting.items())
    untested = f"not tested, within their limits: {', '.join(limits)}" if limits else ""
    parts = [_reason(result, "advance") if result.verdict == "advance" else "", untested]
    return "advance", "; ".join(part for part in parts if part)


def _overdue(plan: GatePlan, evidence: Sequence[tuple[GateMetric, Evidence]]) -> tuple[GateVerdict, str]:
    if plan.undecided == "abort":
        return "abort", f"nothing was shown within {plan.max_hold_s:g} s, and the plan aborts then"
    found = {metric.name: _limit(metric, one) for metric, one in evidence}
    broken = [f"{name}: {one.reason}" for name, one in found.items() if one.verdict == "abort"]
    if broken:
        return "abort", f"nothing was shown within {plan.max_hold_s:g} s, by hard limits: {'; '.join(broken)}"
    waiting = [f"{name}: {one.reason}" for name, one in found.items() if one.verdict == "hold"]
    if waiting:
        return (
            "hold",
            f"too little was heard within {plan.max_hold_s:g} s for a limit; a person decides: {'; '.join(waiting)}",
        )
    return "advance", f"nothing was shown within {plan.max_hold_s:g} s, and all is within the hard limits: not tested"


def _limit_of_untested(result: MetricResult, evidence: Evidence, arms: ArmSizes) -> ThresholdResult:
    """Return what the hard limit says of a metric; a hold, where a test may still come and would be less sure."""
    metric, least = result.metric, result.metric.min_devices
    sides = ((result.canary.devices, arms.canaries), (result.control.devices, arms.controls))
    is_small = any(planned < least for _, planned in sides)
    is_awaited = any(heard < least <= planned for heard, planned in sides)
    if result.is_certain or (is_small and not is_awaited):
        return _limit(metric, evidence)
    told = (
        f"{result.reason}; before the wave's time is over a limit decides only on sides of fewer than {least} devices"
    )
    return ThresholdResult("hold", told, math.nan)


def _limit(metric: GateMetric, evidence: Evidence) -> ThresholdResult:
    return DifferenceLimit(metric.margin, metric.worse, metric.min_samples).check(evidence)


def _reason(result: GateResult, verdict: str) -> str:
    return "; ".join(f"{one.metric.name}: {one.reason}" for one in result.metrics if one.verdict == verdict)


def _shown(result: MetricResult, limit: ThresholdResult | None) -> dict[str, Any]:
    metric = result.metric
    return {
        "name": metric.name,
        "unit": FORMS[metric.name].unit,  # type: ignore[index]  # the plan's names alone come here
        "verdict": result.verdict,
        "reason": result.reason,
        "limit": {"verdict": limit.verdict, "reason": limit.reason} if limit else None,
        "margin": metric.margin,
        "tolerance": metric.tolerance,
        "worse": metric.worse,
        "effect": _finite(result.effect),
        "lower": _finite(result.lower),
        "upper": _finite(result.upper),
        "alpha": result.levels.abort,
        "canary": _arm(result.canary),
        "control": _arm(result.control),
    }


def _arm(arm: Arm) -> dict[str, float | int | None]:
    return {
        "devices": arm.devices,
        "samples": arm.samples,
        "value": _finite(arm.value),
        "before": _finite(arm.before),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
