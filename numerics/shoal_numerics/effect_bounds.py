"""The interval of an effect that holds at all looks, of a comparison and of a metric's levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.alpha_budget import Levels
from shoal_numerics.device_comparison import Comparison, unit_variance
from shoal_numerics.gate_metrics import GateMetric
from shoal_numerics.sequential import boundary, mixing_precision
from shoal_numerics.student_t import MIN_DEGREES, student_score

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOON_FOUND = 2.0
"""Harm of so many margins is what the bound for harm is tightest for; for one margin it is hardly less tight."""


@dataclass(frozen=True, eq=False)
class EffectBounds:
    """The ends of the interval, in the metric's unit, and what they say; each of the comparison's shape.

    Attributes:
        lower: float64. Where lower values are worse this is the end that must be above -margin.
        upper: float64.
        standard_error: float64, of the effect, as devices show it.
        is_harm: bool, whether the harm is above the tolerance with the evidence asked for.
        is_ruled_out: bool, whether a harm as large as the margin is ruled out likewise.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    is_harm: NDArray[np.bool_]
    is_ruled_out: NDArray[np.bool_]


def effect_bounds(metric: GateMetric, comparison: Comparison, levels: Levels) -> EffectBounds:
    """Return the interval of the effect.

    The end towards "no harm" fails with probability `levels.abort` over all looks, the other with `levels.advance`;
    where either way is harm, both with half of `levels.abort`. The variance is that of the devices' residuals, read by
    Student's law: a statistic of few devices has heavier tails, and is compared at the same tail probability
    ("significance level approach": Jennison and Turnbull, Group Sequential Methods, 2000, section 3.8). It is no less
    than what samples alone make: by accident a few rare events are spread more evenly than that. For the end that rules
    harm out, the canaries' samples are taken to vary as they would with a harm of the margin: no event at all is not
    yet a rate of zero.

    Args:
        metric: direction, margin and tolerance.
        comparison: of `device_comparison.compare`, with variances above 0.
        levels: of the budget.
    """
    both_ways = metric.worse == "either"
    abort = levels.abort / 2 if both_ways else levels.abort
    advance = abort if both_ways else levels.advance
    usual = unit_variance(comparison.rate, metric.kind)
    if_harmed = np.maximum(usual, _variance_if_harmed(metric, comparison))
    near = _reach(comparison, usual, abort, SOON_FOUND * metric.margin - metric.tolerance)
    far = _reach(comparison, if_harmed, advance, metric.margin - metric.tolerance, usual)
    effect = comparison.effect
    if metric.worse == "higher":
        lower, upper = effect - near, effect + far
        is_harm, is_ruled_out = lower > metric.tolerance, upper < metric.margin
    elif metric.worse == "lower":
        lower, upper = effect - far, effect + near
        is_harm, is_ruled_out = upper < -metric.tolerance, lower > -metric.margin
    else:
        reach = np.maximum(near, far)
        lower, upper = effect - reach, effect + reach
        is_harm = (lower > metric.tolerance) | (upper < -metric.tolerance)
        is_ruled_out = (upper < metric.margin) & (lower > -metric.margin)
    return EffectBounds(lower, upper, np.sqrt(comparison.variance), is_harm, is_ruled_out)


def _variance_if_harmed(metric: GateMetric, comparison: Comparison) -> NDArray[np.float64]:
    """Return the variance of one sample of a canary that is harmed by the margin."""
    ways = {"higher": (1,), "lower": (-1,), "either": (-1, 1)}[metric.worse]
    variances = [unit_variance(comparison.rate + way * metric.margin, metric.kind) for way in ways]
    largest: NDArray[np.float64] = np.maximum.reduce(variances)
    return largest


def _reach(
    comparison: Comparison,
    canary_unit: NDArray[np.float64],
    alpha: float,
    distance: float,
    control_unit: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return how far the bound lies from the estimate.

    Args:
        comparison: the estimate.
        canary_unit: variance of one of the canaries' samples.
        alpha: error probability of this end, over all looks.
        distance: the difference from the hypothesis at which the bound is to be tightest.
        control_unit: variance of one of the controls' samples, the canaries' where None.
    """
    canary, control = comparison.sampling
    least = canary * canary_unit + control * (canary_unit if control_unit is None else control_unit)
    information = 1.0 / np.maximum(comparison.variance, least)
    z = boundary(information, alpha, mixing_precision(alpha, distance))
    t = student_score(z, np.maximum(comparison.degrees, MIN_DEGREES))
    reach: NDArray[np.float64] = np.maximum(t * np.sqrt(comparison.variance), z * np.sqrt(least))
    return reach
