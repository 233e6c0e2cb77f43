"""How much one device may say: its noise split into its own and that of its samples, and a bound on its share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Spread:
    """Where the differences of devices come from.

    Attributes:
        between: (..., 1) float64, variance of what devices are by themselves.
        within: (..., 1) float64, variance of one unit of weight, such as one sample.
    """

    between: NDArray[np.float64]
    within: NDArray[np.float64]

    def precision(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return 1 / variance of each device's value up to a factor, (..., devices) float64; 0 where it has no weight.

        It grows with the device's weight and is bounded where devices differ by themselves.
        """
        noise = self.within + self.between * weight
        precision: NDArray[np.float64] = np.divide(weight, noise, out=weight.copy(), where=noise > 0)
        return precision

    def shrinkage(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much of a device's deviation is its own and not noise, (..., devices) float64, 0 to 1."""
        noise = self.within + self.between * weight
        return np.divide(self.between * weight, noise, out=np.zeros_like(weight), where=noise > 0)


def spread_of(
    deviations: NDArray[np.float64],
    weight: NDArray[np.float64],
    within: NDArray[np.float64] | None,
    fitted: int,
) -> Spread:
    """Split the variance of devices' values by the method of moments.

    With the samples' variance known (shares and counts) it is that of DerSimonian and Laird, Controlled Clinical Trials
    7, 1986. Else squared deviations are regressed on 1 / weight; where all weights are alike the two parts cannot be
    told apart, and need not be.

    Args:
        deviations: (..., devices) float64, values less what was fitted to them with these weights.
        weight: (..., devices) float64; devices with 0 are left out.
        within: (..., 1) float64, the variance of one unit of weight where known.
        fitted: how many parameters were fitted.
    """
    if within is None:
        return _by_regression(deviations, weight)
    heterogeneity = (weight * deviations**2).sum(axis=-1, keepdims=True)
    total = weight.sum(axis=-1, keepdims=True)
    devices = np.count_nonzero(weight, axis=-1, keepdims=True)
    scale = total - (weight**2).sum(axis=-1, keepdims=True) / np.where(total > 0, total, 1.0)
    excess = _less(heterogeneity, (devices - fitted) * within)
    return Spread(np.divide(excess, scale, out=np.zeros_like(excess), where=scale > 0), within)


def _by_regression(deviations: NDArray[np.float64], weight: NDArray[np.float64]) -> Spread:
    is_in = weight > 0
    devices = np.maximum(is_in.sum(axis=-1, keepdims=True), 1)
    inverse = np.divide(1.0, weight, out=np.zeros_like(weight), where=is_in)
    square = np.where(is_in, deviations**2, 0.0)
    mean_inverse, mean_square = (part.sum(axis=-1, keepdims=True) / devices for part in (inverse, square))
    centred = np.where(is_in, inverse - mean_inverse, 0.0)
    scale = (centred**2).sum(axis=-1, keepdims=True)
    # Rounding alone must not pass for a difference of weights.
    is_told = scale > (1e-6 * mean_inverse) ** 2 * devices
    slope = np.divide((centred * square).sum(axis=-1, keepdims=True), scale, out=np.zeros_like(scale), where=is_told)
    within = np.clip(slope, 0.0, mean_square / np.where(mean_inverse > 0, mean_inverse, 1.0))
    return Spread(_less(mean_square, within * mean_inverse), within)


def _less(whole: NDArray[np.float64], part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the part leaves, at least 0, and 0 where it would be rounding: "devices are alike" is exact."""
    left = whole - part
    remaining: NDArray[np.float64] = np.where(left > _ROUNDING * whole, left, 0.0)
    return remaining


def bounded(weight: NDArray[np.float64], max_share: float) -> NDArray[np.float64]:
    """Lower the largest weights to one common value, so that none is above `max_share` of their sum.

    Args:
        weight: (..., devices) float64 at least 0.
        max_share: above 0, at most 1. With fewer than 1 / max_share devices the bound cannot be kept: all are then
            equal.

    Returns:
        (..., devices) float64.
    """
    total = weight.sum(axis=-1, keepdims=True)
    if (weight.max(axis=-1, keepdims=True) <= max_share * total).all():
        return weight
    most = min(math.ceil(1.0 / max_share - 1e-9), weight.shape[-1])
    split = np.partition(weight, weight.shape[-1] - most, axis=-1)
    top = -np.sort(-split[..., weight.shape[-1] - most :], axis=-1)
    small = split[..., : weight.shape[-1] - most].sum(axis=-1, keepdims=True)
    rest = small + np.cumsum(top[..., ::-1], axis=-1)[..., ::-1]
    # With the first k weights lowered to the level, level = max_share (k level + rest).
    level = max_share * rest / np.maximum(1.0 - max_share * np.arange(most), 1e-12)
    first = (top <= level * (1 + 1e-12)).argmax(axis=-1)[..., np.newaxis]
    is_enough = np.count_nonzero(weight, axis=-1, keepdims=True) * max_share >= 1.0 - 1e-9
    least = np.min(weight, axis=-1, keepdims=True, initial=np.inf, where=weight > 0)
    lowered: NDArray[np.float64] = np.minimum(
        weight, np.where(is_enough, np.take_along_axis(level, first, axis=-1), least)
    )
    return lowered
