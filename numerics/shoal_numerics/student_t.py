"""Student's t and the normal law, in a few lines that need no scipy: both sides may compute a gate's verdict.

A t statistic of few devices is read on the normal scale, where the boundaries of `sequential` are defined.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_DEGREES = 5.0
"""From here on the transformation is within 0.001 of the exact one for |z| up to 5."""

_STEPS = 40


def normal_cdf(z: ArrayLike) -> NDArray[np.float64]:
    """Return P(Z <= z) of the standard normal law, any shape, float64."""
    scaled = np.asarray(z, dtype=np.float64) / -math.sqrt(2)
    return 0.5 * np.asarray(np.frompyfunc(math.erfc, 1, 1)(scaled), dtype=np.float64)


def normal_score(t: ArrayLike, degrees: ArrayLike) -> NDArray[np.float64]:
    """Return the z that is as far out in the normal law as t is in Student's.

    Hill's transformation, Communications of the ACM 13(10), 1970, algorithm 395.

    Args:
        t: any shape, float64, finite.
        degrees: degrees of freedom, at least MIN_DEGREES for the stated accuracy; broadcast against t.
    """
    statistic, nu = np.asarray(t, dtype=np.float64), np.asarray(degrees, dtype=np.float64)
    a = nu - 0.5
    w = np.sqrt(a * np.log1p(statistic**2 / nu))
    score: NDArray[np.float64] = np.copysign(_stretched(w, a), statistic)
    return score


def student_score(z: ArrayLike, degrees: ArrayLike) -> NDArray[np.float64]:
    """Return the t that is as far out in Student's law as z is in the normal one: the inverse of `normal_score`.

    Args:
        z: any shape, float64, finite; |z| up to 12 or so for few degrees of freedom.
        degrees: degrees of freedom, broadcast against z.
    """
    score, nu = np.asarray(z, dtype=np.float64), np.asarray(degrees, dtype=np.float64)
    a = nu - 0.5
    low, high = np.broadcast_arrays(np.zeros_like(score), np.abs(score))
    # The stretch only lengthens, so the root lies between 0 and |z|; halving is exact enough after 40 steps.
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        is_above = _stretched(middle, a) > np.abs(score)
        low, high = np.where(is_above, low, middle), np.where(is_above, middle, high)
    w = 0.5 * (low + high)
    size = np.sqrt(nu * np.expm1(np.minimum(w**2 / a, 700.0)))
    found: NDArray[np.float64] = np.copysign(size, score)
    return found


def _stretched(w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Hill's correction of w; it grows with w, and is at least w for a from 3.5 on and w up to 12."""
    b = 48.0 * a**2
    tail = (4 * w**7 + 33 * w**5 + 240 * w**3 + 855 * w) / (10 * b * (b + 0.8 * w**4 + 100))
    stretched: NDArray[np.float64] = w + (w**3 + 3 * w) / b - tail
    return stretched
