"""A small regression with coefficients that are not negative, by relative error. Pure."""

from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


ROUNDS = 4


def fit_times(features: Floats, times: Floats) -> Floats:
    """Return non-negative coefficients (k,) of the least squared error, relative to the mean of time and prediction.

    Relative to the time alone, what was measured too long would pull all predictions down. It is the geometric mean,
    found by reweighting `ROUNDS` times.

    Args:
        features: (n, k) float64, not negative.
        times: (n,) float64, above 0.
    """
    scale, found = times, np.zeros(features.shape[1])
    for _ in range(ROUNDS):
        found = _fit(features / scale[:, np.newaxis], times / scale)
        scale = np.sqrt(times * np.maximum(features @ found, times / 10))
    return found


def _fit(scaled: Floats, wanted: Floats) -> Floats:
    """Return the non-negative coefficients of least squares.

    With the few features there are, every subset is tried: the best whose unconstrained solution is not negative is the
    constrained optimum, by the Karush-Kuhn-Tucker conditions.
    """
    best, least = np.zeros(scaled.shape[1]), float((wanted**2).sum())
    for size in range(1, scaled.shape[1] + 1):
        for chosen in combinations(range(scaled.shape[1]), size):
            part = scaled[:, chosen]
            norms = np.maximum(np.linalg.norm(part, axis=0), 1e-300)
            found = np.linalg.lstsq(part / norms, wanted, rcond=None)[0] / norms
            error = float(((part @ found - wanted) ** 2).sum())
            if (found >= 0).all() and error < least * (1 - 1e-12):
                best, least = np.zeros(scaled.shape[1]), error
                best[list(chosen)] = found
    return best
