"""Samples of known shifts, as the tests and `benchmarks/drift_agreement.py` compare them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Draw = Callable[[np.random.Generator, int], NDArray[np.floating[Any]]]


def _bimodal(share: float) -> Draw:
    return lambda random, n: random.standard_normal(n) + np.where(random.random(n) < share, 2.0, -2.0)


def _normal(mean: float, deviation: float) -> Draw:
    return lambda random, n: random.normal(mean, deviation, n)


def _constant(value: float) -> Draw:
    return lambda _, n: np.full(n, value)


def _mostly_zero(share: float) -> Draw:
    return lambda random, n: np.where(random.random(n) < share, 0.0, random.standard_normal(n))


CONTINUOUS: dict[str, tuple[Draw, Draw]] = {
    "normal_same": (_normal(0, 1), _normal(0, 1)),
    "normal_mean_0.1": (_normal(0, 1), _normal(0.1, 1)),
    "normal_mean_0.5": (_normal(0, 1), _normal(0.5, 1)),
    "normal_mean_3": (_normal(0, 1), _normal(3, 1)),
    "normal_scale_1.2": (_normal(0, 1), _normal(0, 1.2)),
    "normal_scale_0.1": (_normal(0, 1), _normal(0, 0.1)),
    "exponential": (lambda random, n: random.exponential(1, n), lambda random, n: random.exponential(1.3, n)),
    "bimodal": (_bimodal(0.5), _bimodal(0.6)),
}
"""Reference and window of each shift, of laws without frequent values."""

CONCENTRATED: dict[str, tuple[Draw, Draw]] = {
    "constant_same": (_constant(2.0), _constant(2.0)),
    "constant_moved": (_constant(2.0), _constant(2.5)),
    "constant_then_normal": (_constant(0.0), _normal(0, 1)),
    "normal_then_constant": (_normal(0, 1), _constant(0.01)),
    "within_one_bin": (_normal(0, 1), _normal(0.005, 0.001)),
    "mostly_zero": (_mostly_zero(0.8), _mostly_zero(0.7)),
    "ties": (lambda random, n: random.integers(0, 5, n) * 1.0, lambda random, n: random.integers(1, 6, n) * 1.0),
    "heavy_tails": (lambda random, n: random.standard_cauchy(n), lambda random, n: 2 * random.standard_cauchy(n)),
}
"""The same of data that sits on few values, or reaches far."""


def pair(kind: str, rows: int, window: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a reference of so many rows and a window, as float32, which is what is counted."""
    random = np.random.default_rng(seed)
    first, second = (CONTINUOUS | CONCENTRATED)[kind]
    return first(random, rows).astype(np.float32), second(random, window).astype(np.float32)
