"""Predicts latency: the times of operators by regressions for each kind, and a factor for the whole file.

The error that is stated is found by leaving out one file after the other: fitted on the rest, its latency is predicted.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shoal_compression.errors import DataError
from shoal_compression.predictor.operators import FileProfile
from shoal_compression.predictor.regression import fit_times
from shoal_compression.values import Record
from shoal_numerics.operator_profile import Operator

MIN_OPERATORS: Final = 8
"""Of a kind, that have a regression of their own; fewer are predicted by the one of all kinds."""
MIN_FILES: Final = 3
REACH: Final = 4.0
"""A regression is taken for operators that are up to so many times as large as the largest that it was learnt from."""
_LEAST_US: Final = 0.5
"""What the profiler can tell; it counts whole microseconds."""
LEAST_RATIO: Final = 0.01
"""Of a prediction to the truth, by which its upper bound is told."""
_ALL: Final = ""


class Prediction(Record):
    """What a file is predicted to take on a device class."""

    latency_ms: float
    low_ms: float
    """What it takes where the prediction is as far above as the worst of the files that were left out in turn."""
    high_ms: float
    """The same, as far below."""
    unknown: tuple[str, ...] = ()
    """Kinds of operators of which none, too few or far smaller ones were profiled there: those of all kinds count."""


class StatedError(Record):
    """Of files that were left out in turn, as a share of the measured latency."""

    median: float
    worst: float
    files: int
    ratios: tuple[float, float]
    """The least and the largest of predicted to measured; 1 lies between them."""


class LatencyPredictor(Record):
    """What is known of one device class."""

    device_class: str
    coefficients: dict[str, tuple[float, ...]]
    """By kind and datatype of an operator."""
    largest: dict[str, tuple[float, ...]]
    """Of the operators that these were learnt from, feature by feature."""
    factor: float
    """Of the sum of operators, that a whole run takes."""
    overhead_ms: float
    error: StatedError

    @classmethod
    def fit(
        cls,
        device_class: str,
        files: Sequence[FileProfile],
        group_of: Callable[[FileProfile], str] | None = None,
        described: Mapping[str, Sequence[Operator]] | None = None,
    ) -> Self:
        """Learn from files that were profiled on a device of the class.

        Args:
            device_class: Its name.
            files: At least `MIN_FILES`.
            group_of: What is left out together when the error is found, such as a recipe; None: each file by itself.
            described: By name of a file its operators as they are found where predictions are made, by which its error
                is stated; those of its profile where it is not among them.

        Raises:
            DataError: There are too few files.
        """
        groups = [(group_of or _name_of)(one) for one in files]
        if len(set(groups)) < MIN_FILES:
            counted = f"{len(set(groups))} found, expected at least {MIN_FILES}"
            raise DataError(f"fitting the latency of {device_class}: profiles of {counted}; profile more files there")
        found = described or {}
        ratios = [1.0]
        for left_out in sorted(set(groups)):
            kept = [one for one, group in zip(files, groups, strict=True) if group != left_out]
            rest = _fitted(kept)
            ratios += [
                _latency_ms(rest, found.get(one.name, one.operators)) / one.latency_ms
                for one, group in zip(files, groups, strict=True)
                if group == left_out
            ]
        fitted, errors = _fitted(files), [abs(one - 1) for one in ratios[1:]]
        bounds = (min(ratios), max(ratios))
        return cls(
            device_class=device_class,
            coefficients=fitted.coefficients,
            largest=fitted.largest,
            factor=fitted.factor,
            overhead_ms=fitted.overhead_ms,
            error=StatedError(median=median(errors), worst=max(errors), files=len(errors), ratios=bounds),
        )

    def predict(self, operators: Sequence[Operator]) -> Prediction:
        """Return what a file with these operators takes on a device of the class."""
        fitted = _Fitted(self.coefficients, self.largest, self.factor, self.overhead_ms)
        latency_ms = _latency_ms(fitted, operators)
        unknown = sorted({one.key for one in operators if not _is_known(fitted, one)})
        return Prediction(
            latency_ms=latency_ms,
            low_ms=latency_ms / self.error.ratios[1],
            high_ms=latency_ms / max(self.error.ratios[0], LEAST_RATIO),
            unknown=tuple(unknown),
        )


class _Fitted(NamedTuple):
    coefficients: dict[str, tuple[float, ...]]
    largest: dict[str, tuple[float, ...]]
    factor: float = 1.0
    overhead_ms: float = 0.0


def _fitted(files: Sequence[FileProfile]) -> _Fitted:
    """Return coefficients by kind, the factor of a whole run, and its overhead."""
    operators = [one for file in files for one in file.operators]
    told = np.array([time for file in files for time in file.times_us])
    times = np.maximum(told - _profiler_us(files), _LEAST_US)
    kinds = [one.key for one in operators]
    features = np.array([_features(one) for one in operators])
    coefficients = {_ALL: _as_tuple(fit_times(features, times))}
    largest = {_ALL: _as_tuple(features.max(axis=0))}
    for kind in sorted(set(kinds)):
        mine = np.array([one == kind for one in kinds])
        if mine.sum() >= MIN_OPERATORS:
            coefficients[kind] = _as_tuple(fit_times(features[mine], times[mine]))
            largest[kind] = _as_tuple(features[mine].max(axis=0))
    of_operators = _Fitted(coefficients, largest)
    sums = np.array([[_sum_ms(of_operators, file.operators), 1.0] for file in files])
    factor, overhead_ms = fit_times(sums, np.array([file.latency_ms for file in files]))
    return of_operators._replace(factor=float(factor), overhead_ms=float(overhead_ms))


def _profiler_us(files: Sequence[FileProfile]) -> float:
    """Return what the profiler adds to each operator: by how much their sum is longer than a run without it."""
    return max(0.0, median((sum(file.times_us) - 1000 * file.latency_ms) / len(file.operators) for file in files))


def _latency_ms(fitted: _Fitted, operators: Sequence[Operator]) -> float:
    return fitted.factor * _sum_ms(fitted, operators) + fitted.overhead_ms


def _sum_ms(fitted: _Fitted, operators: Sequence[Operator]) -> float:
    keys = (one.key if _is_known(fitted, one) else _ALL for one in operators)
    found = (np.dot(fitted.coefficients[key], _features(one)) for key, one in zip(keys, operators, strict=True))
    return float(sum(found)) / 1000


def _is_known(fitted: _Fitted, operator: Operator) -> bool:
    """Whether the regression of its kind reaches to an operator: one of small products says nothing of large ones."""
    largest = fitted.largest.get(operator.key)
    return largest is not None and bool((_features(operator) <= REACH * np.array(largest)).all())


def _features(operator: Operator) -> npt.NDArray[np.float64]:
    moved = (operator.input_bytes, operator.output_bytes)
    return np.array([1.0, operator.macs, *moved, operator.output_elements], np.float64)


def _as_tuple(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(map(float, values))


def _name_of(file: FileProfile) -> str:
    return file.name
