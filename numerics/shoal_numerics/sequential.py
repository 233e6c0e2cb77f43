"""One-sided confidence sequences: bounds that may be looked at as often as one likes.

The score of an efficient estimator is a Brownian motion in information time (information = 1 / variance), drifting
with the effect. What is known of estimator and variance is `device_comparison`'s; verdicts are made in `gates`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import GateError
from shoal_numerics.student_t import normal_cdf

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_ALPHA = 0.2
"""The largest error probability that a bound is made for."""

_TYPICAL_POWER_Z = 1.645
_STEPS = 30


def log_evidence(z: ArrayLike, information: ArrayLike, mixing: ArrayLike) -> NDArray[np.float64]:
    """Return the logarithm of the evidence (an e-value) against "the effect is at most zero".

    With score s = z √I, and drifts above zero weighted by a half-normal law of precision r:
    E = 2 √(r / (I + r)) exp(s² / (2 (I + r))) Φ(s / √(I + r)). Under the hypothesis E is a supermartingale that begins
    at 1, so it ever reaches 1 / alpha with probability at most alpha, however often one looks.
    Sources: Robbins, Annals of Mathematical Statistics 41, 1970; Howard, Ramdas, McAuliffe and Sekhon, Annals of
    Statistics 49, 2021 (one-sided normal mixture).

    Args:
        z: effect over its standard error.
        information: 1 / variance of the effect, above 0.
        mixing: r, of the same unit, see `mixing_precision`.
    """
    score = np.asarray(z, dtype=np.float64)
    share = _share(information, mixing)
    rest = 0.5 * np.log1p(-share) + 0.5 * share * score**2
    evidence: NDArray[np.float64] = math.log(2) + rest + np.log(normal_cdf(score * np.sqrt(share)))
    return evidence


def boundary(information: ArrayLike, alpha: float, mixing: ArrayLike) -> NDArray[np.float64]:
    """Return the z from which on the evidence is at least 1 / alpha.

    Args:
        information: 1 / variance of the effect, above 0; any shape.
        alpha: error probability over all looks together, above 0 and at most MAX_ALPHA.
        mixing: r, broadcast against the information.

    Raises:
        GateError: alpha out of its range.
    """
    check_alpha(alpha)
    share = _share(information, mixing)
    # Φ is at least a half where z is at least 0, so this is above the root; the function is convex and Newton's
    # method comes down to the root without passing it.
    z: NDArray[np.float64] = np.sqrt(2 / share * (-math.log(alpha) - 0.5 * np.log1p(-share)))
    for _ in range(_STEPS):
        cdf = normal_cdf(z * np.sqrt(share))
        density = np.exp(-0.5 * share * z**2) / math.sqrt(2 * math.pi)
        step = (log_evidence(z, information, mixing) + math.log(alpha)) / (share * z + np.sqrt(share) * density / cdf)
        z = z - step
        if (np.abs(step) <= 1e-12 * z).all():
            break
    return z


def mixing_precision(alpha: float, distance: float) -> float:
    """Return the mixing precision that makes the bound tightest when a true effect of `distance` is about to be found.

    That is at information ((z + 1.645) / distance)², with z the bound itself: there 95 % of the effects are found. The
    bound is valid with any that is fixed beforehand, and nearly as tight over a tenfold range of information.

    Args:
        alpha: error probability over all looks together.
        distance: the effect that matters, above 0, in the metric's unit.

    Raises:
        GateError: alpha or distance out of range.
    """
    check_alpha(alpha)
    if not (math.isfinite(distance) and distance > 0):
        message = f"Setting a sequential bound: the effect to find is {distance}, expected more than 0 and finite."
        raise GateError(message)
    doubled = 2 * math.log(1 / (2 * alpha))
    ratio = doubled + math.log1p(doubled)
    at_best = float(boundary(ratio, alpha, 1.0))
    return ((at_best + _TYPICAL_POWER_Z) / distance) ** 2 / ratio


def _share(information: ArrayLike, mixing: ArrayLike) -> NDArray[np.float64]:
    """Return I / (I + r)."""
    info = np.asarray(information, dtype=np.float64)
    share: NDArray[np.float64] = info / (info + np.asarray(mixing, dtype=np.float64))
    return share


def check_alpha(alpha: float) -> None:
    """Raise GateError unless 0 < alpha <= MAX_ALPHA."""
    if not 0 < alpha <= MAX_ALPHA:
        message = f"Setting a sequential bound: alpha is {alpha}, expected above 0 and at most {MAX_ALPHA}."
        raise GateError(message)
