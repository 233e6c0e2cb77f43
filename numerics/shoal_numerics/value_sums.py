"""Mergeable sums of numbers and of the errors of a regression: mean, spread, MAE, RMSE, bias and R². Pure.

Merging is commutative to the bit. It is associative but for the rounding of float64: a merge of m parts is off by at
most a few m * 2**-53 of each sum, since none of them cancels (Chan, Golub and LeVeque, STAN-CS-79-773, 1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_contract.performance import MAX_METRIC_VALUE, RegressionSums, ValueSums
from shoal_numerics.errors import PerformanceError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_SLACK = 1e-6
"""Relative: what rounding may make of sums that are tight, with room for millions of merges."""
_ROUNDING = 4096 * 2.0**-52
"""Of the largest number: how far rounding may put a mean or a number off. A merge puts a mean off by one unit or two,
to either side, so that the offs of millions of merges come to some thousands of units."""
_UNDERFLOW = 1e-150
"""Squares of less lose digits or vanish."""


@dataclass(frozen=True)
class RegressionMetrics:
    """How far answers are from the truth, in its unit.

    Attributes:
        samples: Answers whose truth is known.
        mae: Mean absolute error.
        rmse: Root of the mean squared error.
        bias: Mean error; above 0, answers are too high.
        r2: Share of the truth's variance that the answers explain, at most 1; None where the truth does not vary by
            more than rounding may make of equal numbers.
    """

    samples: int
    mae: float
    rmse: float
    bias: float
    r2: float | None


def sums_of(values: ArrayLike) -> ValueSums:
    """Return the sums of numbers.

    Args:
        values: (n,) numbers, n at least 1, each at most `MAX_METRIC_VALUE` either side of 0.

    Raises:
        PerformanceError: There are none, or one is not finite or too large.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if not len(numbers) or not bool((np.abs(numbers) <= MAX_METRIC_VALUE).all()):
        message = f"Adding up {len(numbers)} numbers: expected at least one, finite and at most {MAX_METRIC_VALUE:g}."
        raise PerformanceError(message)
    least, most = float(numbers.min()), float(numbers.max())
    mean = min(max(float(numbers.mean()), least), most)
    squares = float(np.square(numbers - mean).sum())
    return ValueSums(values=len(numbers), mean=mean, squares=squares, least=least, most=most)


def merge_values(first: ValueSums, second: ValueSums) -> ValueSums:
    """Return the sums of the numbers of both."""
    total = first.values + second.values
    apart = second.mean - first.mean
    least, most = min(first.least, second.least), max(first.most, second.most)
    # Weighted from both sides, so that the order of the two changes no bit.
    mean = first.mean * (first.values / total) + second.mean * (second.values / total)
    between = apart * apart * (first.values / total * second.values)
    if first.values > second.values:
        between = apart * apart * (second.values / total * first.values)
    squares = first.squares + second.squares + between
    return ValueSums(values=total, mean=min(max(mean, least), most), squares=squares, least=least, most=most)


def regression_of(truth: ArrayLike, answers: ArrayLike) -> RegressionSums:
    """Return the sums of some answers' errors.

    Args:
        truth: (n,) true values.
        answers: (n,) what was answered.

    Raises:
        PerformanceError: They are not as many, none, not finite or too large.
    """
    true: NDArray[np.float64] = np.asarray(truth, dtype=np.float64).ravel()
    found: NDArray[np.float64] = np.asarray(answers, dtype=np.float64).ravel()
    if len(true) != len(found):
        message = f"Comparing {len(found)} answers with {len(true)} true values: expected as many."
        raise PerformanceError(message)
    errors = found - true
    return RegressionSums(errors=sums_of(errors), absolute=float(np.abs(errors).sum()), truth=sums_of(true))


def merge_regression(first: RegressionSums, second: RegressionSums) -> RegressionSums:
    """Return the sums of the answers of both."""
    return RegressionSums(
        errors=merge_values(first.errors, second.errors),
        absolute=first.absolute + second.absolute,
        truth=merge_values(first.truth, second.truth),
    )


def regression_metrics(sums: RegressionSums) -> RegressionMetrics:
    """Return what sums come to."""
    count, bias = sums.errors.values, sums.errors.mean
    square = sums.errors.squares + count * bias * bias
    r2 = 1 - square / sums.truth.squares if _deviation(sums.truth) > _rounding(sums.truth) else None
    return RegressionMetrics(samples=count, mae=sums.absolute / count, rmse=math.sqrt(square / count), bias=bias, r2=r2)


def standard_deviation(sums: ValueSums) -> float | None:
    """Return the standard deviation of a sample; None of fewer than two numbers."""
    return math.sqrt(sums.squares / (sums.values - 1)) if sums.values > 1 else None


def misfit(sums: ValueSums) -> str:
    """Return why these can not be sums of numbers between their least and most; empty if they can."""
    spread, slack = sums.most - sums.least, 1 + _SLACK
    # Popoviciu: no numbers within a range have a larger variance than half of them at either end. Of numbers that
    # differ by little but rounding, so does the mean.
    if _deviation(sums) > (spread / 2 + _rounding(sums)) * slack:
        return f"squares of {sums.squares:g} are too large for {sums.values} numbers within {spread:g}"
    return ""


def regression_misfit(sums: RegressionSums) -> str:
    """Return why these can not be sums of one regression's errors; empty if they can."""
    count, bias, slack = sums.errors.values, sums.errors.mean, 1 + _SLACK
    square = sums.errors.squares + count * bias * bias
    most = (math.sqrt(square / count) * slack + _UNDERFLOW) * count
    if abs(bias) * count > sums.absolute * slack + _UNDERFLOW * count or sums.absolute > most:
        return f"an absolute sum of {sums.absolute:g} fits no errors with a mean of {bias:g} and squares of {square:g}"
    return misfit(sums.errors) or misfit(sums.truth)


def _deviation(sums: ValueSums) -> float:
    """Return the root of the mean squared distance from the mean."""
    return math.sqrt(sums.squares / sums.values)


def _rounding(sums: ValueSums) -> float:
    """Return how far rounding alone may put equal numbers like these from their mean."""
    return max(abs(sums.least), abs(sums.most)) * _ROUNDING + _UNDERFLOW
