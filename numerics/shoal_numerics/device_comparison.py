"""The effect of a new version and its variance, from canaries' and controls' totals before and after.

The device is the unit: each gives one value, adjusted for what it was before, and the variance comes from how devices
differ and not from how many requests they had. Vectorised over devices, and over repetitions in leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from shoal_numerics.device_weights import bounded, spread_of
from shoal_numerics.gate_evidence import DeviceTotals, Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

MetricKind = Literal["share", "count", "mean"]
"""What a numerator counts: events of `weight` trials; events in as many units; or a sum of measurements."""

_PARAMETERS = 3
"""Fitted to devices' values: a level for each arm, and the slope on the value before."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The estimate. Arrays have the leading axes of the evidence.

    Attributes:
        effect: float64, canaries' value less controls', adjusted for the values before.
        variance: float64, of the effect, as devices' residuals show it; 0 where it cannot be told.
        sampling: float64, the part of the variance that samples alone make, per unit of their variance: Σ l² / n over
            canaries (first) and controls (second), with l the weight of each device's value in the effect.
        rate: float64, value of all devices together, smoothed by half an event, for the samples' variance.
        degrees: float64, degrees of freedom of the variance.
        slope: float64, how much of a device's difference before is expected after.
        largest_share: float64, the largest share of an arm that one device carries.
    """

    effect: NDArray[np.float64]
    variance: NDArray[np.float64]
    sampling: tuple[NDArray[np.float64], NDArray[np.float64]]
    rate: NDArray[np.float64]
    degrees: NDArray[np.float64]
    slope: NDArray[np.float64]
    largest_share: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Fit:
    """A weighted regression of the values after on arm and value before.

    Attributes:
        weight: (..., devices) working precision of each device's value, bounded.
        share: (..., devices) the same, adding up to 1 in each arm.
        covariate: (..., devices) value before, less its arm's mean.
        gap: (..., 1) mean of the canaries' values before, less that of the controls.
        squares: (..., 1) weighted sum of squares of the covariate; 0 where nothing is adjusted.
        slope: (..., 1) on the covariate.
        effect: (..., 1) difference of the arms' levels, adjusted.
        residuals: (..., devices) what the regression leaves.
    """

    weight: NDArray[np.float64]
    share: NDArray[np.float64]
    covariate: NDArray[np.float64]
    gap: NDArray[np.float64]
    squares: NDArray[np.float64]
    slope: NDArray[np.float64]
    effect: NDArray[np.float64]
    residuals: NDArray[np.float64]


def compare(evidence: Evidence, kind: MetricKind, max_device_share: float) -> Comparison:
    """Estimate the effect of the new version, by analysis of covariance on devices.

    Values before are shrunk to their common mean by their precision, so that what is noise in them is not taken for
    the device's own. Their slope is estimated, not set to 1 as a difference of differences does, which doubles the
    noise where devices do not differ. Weights follow the variance left over: proportional to samples where devices do
    not differ beyond that, equal where they do, and never above `max_device_share` of an arm.
    Sources: Yang and Tsiatis, The American Statistician 55, 2001 (analysis of covariance in randomised trials); Deng,
    Xu, Kohavi and Walker, WSDM 2013 (CUPED); MacKinnon and White, Journal of Econometrics 29, 1985 (HC2); Bell and
    McCaffrey, Survey Methodology 28, 2002 (degrees of freedom).

    Args:
        evidence: the totals; both arms need devices with samples after (see `gates`, which makes sure).
        kind: what the numerators are.
        max_device_share: the largest share of its arm that one device may carry.
    """
    own = _deviations(evidence.before)
    spread = spread_of(own, evidence.before.weight, _unit_variance(evidence.before, kind), fitted=1)
    covariate = own * spread.shrinkage(evidence.before.weight)
    after = evidence.after.weight
    first = _fit(evidence, covariate, spread.precision(after), max_device_share)
    within = _unit_variance(evidence.after, kind)
    left = spread_of(first.residuals, after, within, _PARAMETERS)
    fit = _fit(evidence, covariate, left.precision(after), max_device_share)
    return _comparison(evidence, fit)


def unit_variance(rate: NDArray[np.float64], kind: MetricKind) -> NDArray[np.float64]:
    """Return the variance of one trial or unit of exposure at a rate: binomial or Poisson; 0 for means (not known)."""
    if kind == "mean":
        return np.zeros_like(rate)
    if kind == "count":
        positive: NDArray[np.float64] = np.maximum(rate, 0.0)
        return positive
    inside = np.clip(rate, 0.0, 1.0)
    variance: NDArray[np.float64] = inside * (1.0 - inside)
    return variance


def _unit_variance(totals: DeviceTotals, kind: MetricKind) -> NDArray[np.float64] | None:
    return None if kind == "mean" else unit_variance(_pooled(totals), kind)


def _pooled(totals: DeviceTotals) -> NDArray[np.float64]:
    """Return the value of all devices together, (..., 1); half an event more keeps it away from "never"."""
    weight = totals.weight.sum(axis=-1, keepdims=True)
    pooled: NDArray[np.float64] = (totals.numerator.sum(axis=-1, keepdims=True) + 0.5) / (weight + 1.0)
    return pooled


def _deviations(before: DeviceTotals) -> NDArray[np.float64]:
    """Return values before less their mean, (..., devices); 0 for a device that has none: nothing is known of it."""
    weight = before.weight.sum(axis=-1, keepdims=True)
    mean = before.numerator.sum(axis=-1, keepdims=True) / np.where(weight > 0, weight, 1.0)
    values = before.values
    # What rounding leaves of equal values is no difference.
    is_told = (before.weight > 0) & (np.abs(values - mean) > 1e-12 * np.abs(values))
    deviations: NDArray[np.float64] = np.where(is_told, values - mean, 0.0)
    return deviations


def _by_arm(values: NDArray[np.float64], is_canary: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the sums over canaries and over controls, (..., 2) float64."""
    arms = np.stack([is_canary, ~is_canary], axis=-1).astype(np.float64)
    sums: NDArray[np.float64] = values @ arms
    return sums


def _spread_out(of_arms: NDArray[np.float64], is_canary: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give each device what is its arm's: (..., 2) to (..., devices)."""
    return np.where(is_canary, of_arms[..., :1], of_arms[..., 1:])


def _bounded_shares(
    precision: NDArray[np.float64], is_canary: NDArray[np.bool_], max_share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights of which none is above `max_share` of its arm, and the shares that they are of their arms."""
    weight, share = precision, _shares(precision, is_canary)
    if share.max(initial=0.0) > max_share:
        canary, control = (bounded(np.where(arm, precision, 0.0), max_share) for arm in (is_canary, ~is_canary))
        weight = canary + control
        share = _shares(weight, is_canary)
    return weight, share


def _shares(weight: NDArray[np.float64], is_canary: NDArray[np.bool_]) -> NDArray[np.float64]:
    totals = _by_arm(weight, is_canary)
    return weight / _spread_out(np.where(totals > 0, totals, 1.0), is_canary)


def _fit(evidence: Evidence, covariate: NDArray[np.float64], precision: NDArray[np.float64], max_share: float) -> _Fit:
    values, is_canary = evidence.after.values, evidence.is_canary
    weight, share = _bounded_shares(precision, is_canary, max_share)
    means, levels = _by_arm(share * covariate, is_canary), _by_arm(share * values, is_canary)
    x = covariate - _spread_out(means, is_canary)
    y = values - _spread_out(levels, is_canary)
    weighted = weight * x
    squares = (weighted * x).sum(axis=-1, keepdims=True)
    slope = _divided((weighted * y).sum(axis=-1, keepdims=True), squares)
    gap = means[..., :1] - means[..., 1:]
    effect = levels[..., :1] - levels[..., 1:] - slope * gap
    return _Fit(weight, share, x, gap, squares, slope, effect, y - slope * x)


def _comparison(evidence: Evidence, fit: _Fit) -> Comparison:
    """Add the HC2 variance of the effect and its degrees of freedom to the estimate."""
    steepness = fit.weight * fit.covariate * _divided(np.ones_like(fit.squares), fit.squares)
    loadings = np.where(evidence.is_canary, fit.share, -fit.share) - fit.gap * steepness
    leverage = fit.share + steepness * fit.covariate
    squared = loadings**2
    freedom = np.maximum(1.0 - leverage, 1e-9)
    sampling = _by_arm(_divided(squared, evidence.after.weight), evidence.is_canary)
    return Comparison(
        effect=fit.effect[..., 0],
        variance=(squared * fit.residuals**2 / freedom).sum(axis=-1),
        sampling=(sampling[..., 0], sampling[..., 1]),
        rate=_pooled(evidence.after)[..., 0],
        degrees=_degrees(fit, evidence.is_canary, _divided(squared, fit.weight), leverage),
        slope=fit.slope[..., 0],
        largest_share=fit.share.max(axis=-1),
    )


def _degrees(
    fit: _Fit, is_canary: NDArray[np.bool_], squared: NDArray[np.float64], leverage: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Bell and McCaffrey's degrees of freedom of the HC2 variance, with values' variances as the weights say.

    With P = I - Q Qᵀ the projection on residuals of the standardised values and G the diagonal of their factors, they
    are tr(PG)² / tr(PGPG). Q has three columns, so it takes one pass and no matrix of devices by devices.

    Args:
        fit: the regression.
        is_canary: (devices,) bool.
        squared: (..., devices) squares of the loadings, over the weights.
        leverage: (..., devices) the diagonal of Q Qᵀ.
    """
    factor = squared / np.maximum(1.0 - leverage, 1e-9)
    column = fit.covariate * np.sqrt(fit.weight * _divided(np.ones_like(fit.squares), fit.squares))
    levels = _by_arm(factor * fit.share, is_canary)
    mixed = _by_arm(factor * np.sqrt(fit.share) * column, is_canary)
    slopes = (factor * column**2).sum(axis=-1)
    off_diagonal = (levels**2).sum(axis=-1) + 2 * (mixed**2).sum(axis=-1) + slopes**2
    # The diagonal of P is 1 - leverage, and (1 - h)² - h² = 1 - 2 h.
    trace = (factor**2 * (1.0 - 2.0 * leverage)).sum(axis=-1) + off_diagonal
    return _divided(squared.sum(axis=-1) ** 2, trace)


def _divided(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotient, 0 where the denominator is not above 0."""
    quotient: NDArray[np.float64] = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return quotient
