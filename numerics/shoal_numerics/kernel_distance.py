"""Has the whole distribution of a vector moved? The kernel distance (MMD) from sums of random features alone.

A device that keeps, of each window, the sum and the sum of squares of random Fourier features of an embedding
keeps enough for it: constant memory, sums that merge, one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import DriftError
from shoal_numerics.gamma_tail import chi_squared_survival

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SAMPLES = 2


@dataclass(frozen=True, eq=False)
class FeatureSums:
    """Sums over a sample of vectors; two of them merge by adding all three.

    Attributes:
        count: vectors in the sample.
        total: (features,) float64, Σ φ.
        squares: (features,) float64, Σ φ², feature by feature.
    """

    count: int
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check that a sample may have such sums.

        Raises:
            DriftError: shapes differ, too few vectors, sums that are not finite or that no real features have.
        """
        if self.total.ndim != 1 or self.total.shape != self.squares.shape or self.count < MIN_SAMPLES:
            message = (
                f"Reading feature sums: found {self.count} vectors and shapes {self.total.shape} and "
                f"{self.squares.shape}, expected at least {MIN_SAMPLES} and one length."
            )
            raise DriftError(message)
        least = self.total**2 / self.count
        if not np.isfinite(self.squares).all() or not (self.squares >= least - 1e-9 * (1 + least)).all():
            message = "Reading feature sums: squares that are not finite or below what the sums ask for. Refuse them."
            raise DriftError(message)

    @classmethod
    def of(cls, features: NDArray[np.float64]) -> FeatureSums:
        """Return the sums over (n, features), n at least 2."""
        rows = np.asarray(features, dtype=np.float64)
        return cls(len(rows), rows.sum(axis=0), (rows**2).sum(axis=0))

    def merge(self, other: FeatureSums) -> FeatureSums:
        """Return the sums of both samples together.

        Raises:
            DriftError: another number of features.
        """
        if self.total.shape != other.total.shape:
            message = f"Merging feature sums: found {len(other.total)} features, expected {len(self.total)}."
            raise DriftError(message)
        return FeatureSums(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean_variance(self) -> NDArray[np.float64]:
        """The variance of each feature's mean, (features,) float64."""
        apart = np.maximum(self.squares - self.total**2 / self.count, 0.0)
        variance: NDArray[np.float64] = apart / (self.count - 1) / self.count
        return variance


@dataclass(frozen=True)
class FeatureMmd:
    """What was found.

    Attributes:
        distance_squared: MMD², freed of its bias, so that it may lie below zero where nothing has moved.
        floor: what the plain squared distance of the means has by sampling alone; it was taken off.
        standard_error: of distance_squared, features taken for uncorrelated.
        p_value: that holds whatever the features' correlations, up to 0.2; larger ones are said to be 1.
        uncorrelated_p_value: sharper, and right only where the features are uncorrelated; too small else.
    """

    distance_squared: float
    floor: float
    standard_error: float
    p_value: float
    uncorrelated_p_value: float


_TAIL_FROM = 1.5365
"""From here on no positive form of normal variables with mean 1 has a heavier tail than a single square."""


def feature_mmd(first: FeatureSums, second: FeatureSums) -> FeatureMmd:
    """Compare two samples of vectors by the squared norm of the difference of their features' means.

    With random Fourier features √(2 / D) cos(w x + b) of a Gaussian kernel it is an estimate of the kernel's MMD²
    (Gretton et al., JMLR 13, 2012; Rahimi and Recht, NIPS 2007); features must be the same, of the same seed, in
    both. With an embedding's own activations in their place it sees a shift of the mean and nothing else.

    Assumed: vectors are independent, and many enough that means are normal (some hundred). Sums of squares have no
    covariances. `uncorrelated_p_value` takes those for zero and matches two moments (Satterthwaite); features of one
    and the same embedding are correlated, so it alarms too often. `p_value` assumes nothing of them, by Székely and
    Bakirov, Probability Theory and Related Fields 126, 2003, and pays with power: its threshold for 0.05 is a
    plain distance of 3.84 floors, where the other's is near one and a bit.

    Raises:
        DriftError: another number of features.
    """
    if first.total.shape != second.total.shape:
        message = f"Comparing feature sums: found {len(second.total)} features, expected {len(first.total)}."
        raise DriftError(message)
    apart = second.total / second.count - first.total / first.count
    variance = first.mean_variance + second.mean_variance
    plain, floor = float(apart @ apart), float(variance.sum())
    # The mean's own noise lies in `apart` as well: what it adds is taken off.
    moved = max(float((apart**2 - variance) @ variance), 0.0)
    error = float(np.sqrt(2 * variance @ variance + 4 * moved))
    if floor == 0:
        certain = float(plain == 0)
        return FeatureMmd(plain, 0.0, error, certain, certain)
    shares = variance / floor
    degrees = 1 / float(shares @ shares)
    safe = float(chi_squared_survival(plain / floor, 1)) if plain >= _TAIL_FROM * floor else 1.0
    return FeatureMmd(plain - floor, floor, error, safe, float(chi_squared_survival(degrees * plain / floor, degrees)))
