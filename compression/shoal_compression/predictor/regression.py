"""A small regression with coefficients that are not negative, by relative error. Pure."""

from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def fit_times(features: Floats, times: Floats) -> Floats:
    """Return non-negative coefficients (k,) that minimise the sum of squared relative errors.

    With the few features there are, every subset is tried: the best whose unconstrained solution is not negative is the
    constrained optimum, by the Karush-Kuhn-Tucker conditions.

    Args:
        features: (n, k) float64, not negative.
        times: (n,) float64, above 0.
    """
    scaled, ones = features / times[:, np.newaxis], np.ones(len(times))
    best, least = np.zeros(features.shape[1]), float(len(times))
    for size in range(1, features.shape[1] + 1):
        for chosen in combinations(range(features.shape[1]), size):
            part = scaled[:, chosen]
            norms = np.maximum(np.linalg.norm(part, axis=0), 1e-300)
            found = np.linalg.lstsq(part / norms, ones, rcond=None)[0] / norms
            error = float(((part @ found - 1) ** 2).sum())
            if (found >= 0).all() and error < least * (1 - 1e-12):
                best, least = np.zeros(features.shape[1]), error
                best[list(chosen)] = found
    return best
