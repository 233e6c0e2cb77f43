"""The chi-squared law in a few lines that need no scipy: the tail of the regularised incomplete gamma function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_SMALLEST = 1e-300
_CLOSE = 1e-15
_MOST_STEPS = 4000
"""A hundred and some times √a are taken near the middle, where most are: enough up to 100,000 degrees of freedom."""


def chi_squared_survival(statistic: ArrayLike, degrees: ArrayLike) -> NDArray[np.float64]:
    """Return P(X >= statistic) of the chi-squared law.

    Args:
        statistic: any shape, float64 at least 0.
        degrees: degrees of freedom above 0, not necessarily whole; broadcast against it.

    Returns:
        The broadcast shape, 0 to 1; NaN where either is NaN or the degrees are not above 0.
    """
    return upper_gamma(0.5 * np.asarray(degrees, dtype=np.float64), 0.5 * np.asarray(statistic, dtype=np.float64))


def upper_gamma(a: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
    """Return Q(a, x) = Γ(a, x) / Γ(a), the regularised upper incomplete gamma function.

    The series of the lower function below x = a + 1, Legendre's continued fraction by Lentz's method above.
    Source: NIST Digital Library of Mathematical Functions, 8.7.1 and 8.9.2.

    Args:
        a: any shape, float64 above 0.
        x: float64 at least 0, broadcast against it.

    Returns:
        The broadcast shape, 0 to 1; NaN where either is NaN or out of its range.
    """
    shape, point = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(x, dtype=np.float64))
    with np.errstate(invalid="ignore"):
        is_number = (shape > 0) & (point >= 0) & np.isfinite(shape)
    safe = np.where(is_number, shape, 1.0)
    at = np.where(is_number & np.isfinite(point), point, 0.0)
    is_low = at < safe + 1
    logs = np.asarray(np.frompyfunc(math.lgamma, 1, 1)(safe), dtype=np.float64)
    with np.errstate(divide="ignore"):
        front = np.exp(safe * np.log(at) - at - logs)
    low = 1.0 - front * _lower_series(safe, np.where(is_low, at, 0.0))
    high = front * _upper_fraction(safe, np.where(is_low, safe + 1, at))
    tail = np.clip(np.where(is_low, low, high), 0.0, 1.0)
    tail = np.where(np.isposinf(point), 0.0, tail)
    found: NDArray[np.float64] = np.where(is_number, tail, np.nan)
    return found


def _lower_series(a: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ xⁿ / (a (a + 1) … (a + n)), which times xᵃ e⁻ˣ / Γ(a) is P(a, x)."""
    term: NDArray[np.float64] = 1.0 / a
    total: NDArray[np.float64] = term.copy()
    for step in range(1, _MOST_STEPS):
        term = term * x / (a + step)
        total = total + term
        if (term <= _CLOSE * total).all():
            break
    return total


def _upper_fraction(a: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the continued fraction which times xᵃ e⁻ˣ / Γ(a) is Q(a, x); for x from a + 1 on."""
    b = x + 1.0 - a
    c = np.full_like(b, 1.0 / _SMALLEST)
    d: NDArray[np.float64] = 1.0 / b
    fraction: NDArray[np.float64] = d.copy()
    for step in range(1, _MOST_STEPS):
        part = step * (a - step)
        b = b + 2.0
        d = part * d + b
        c = b + part / c
        d, c = (np.where(np.abs(each) < _SMALLEST, _SMALLEST, each) for each in (d, c))
        d = 1.0 / d
        change = d * c
        fraction = fraction * change
        if (np.abs(change - 1.0) <= _CLOSE).all():
            break
    return fraction
