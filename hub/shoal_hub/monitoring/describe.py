"""What every test says of a window's features and embedding, as signals and their views tell it. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np

from shoal_contract.embedding import EMBEDDING_ONE, EmbeddingSums
from shoal_contract.manifest import Baseline
from shoal_numerics import DriftVerdict, FeatureSums, Histogram, feature_mmd, merge_sums
from shoal_numerics.feature_tests import FeatureTests, run_feature_tests
from shoal_numerics.kernel_distance import MIN_SAMPLES

PLAIN_P_VALUE: Final = 0.05
"""At most which a p-value of one feature alone is read as a change, by the plain rule of the textbooks."""
PLAIN_PSI: Final = 0.2


def describe(
    window: Histogram, reference: Histogram, baseline: Baseline, verdict: DriftVerdict, positions: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what all tests say of some features, in the order of their positions."""
    categorical = [one.is_categorical for one in baseline.features]
    found = run_feature_tests(reference, window, verdict, categorical, positions)
    return [tests_of(one, baseline.features[at].name) for one, at in zip(found, positions, strict=True)]


def tests_of(found: FeatureTests, name: str) -> dict[str, Any]:
    """Return what the tests say of a feature as plain values; None is what was not tested."""
    drift, chi = found.drift, found.chi_squared
    return {
        "name": name,
        "kind": "numeric" if chi is None else "categorical",
        "ks": finite(drift.ks),
        "resolution": finite(drift.resolution) if math.isfinite(drift.ks) else None,
        "psi": finite(drift.psi),
        "p_value": finite(drift.adjusted_p_value),
        "raw_p_value": finite(drift.p_value),
        "jensen_shannon": finite(found.jensen_shannon),
        "jensen_shannon_floor": finite(found.jensen_shannon_floor),
        "chi_squared": finite(chi.statistic) if chi is not None else None,
        "chi_squared_degrees": chi.degrees if chi is not None else None,
        "mean": finite(found.mean),
        "mean_change": finite(found.mean_change),
        "mean_p_value": finite(found.mean_p_value),
        "variance_ratio": finite(found.variance_ratio),
        "variance_p_value": finite(found.variance_p_value),
        "missing_ratio": drift.missing_ratio,
        "seen_by": _seen_by(found),
    }


def _seen_by(found: FeatureTests) -> list[str]:
    """Return the tests that see a change by themselves: p of this feature alone below 0.05, PSI at least 0.2.

    What is not tested is NaN, which is neither. Of a hundred features that have not moved some five are named by each.
    """
    p_values = {
        "ks" if found.chi_squared is None else "chi_squared": found.drift.p_value,
        "mean": found.mean_p_value,
        "variance": found.variance_p_value,
    }
    seen = [name for name, p_value in p_values.items() if p_value < PLAIN_P_VALUE]
    return [*seen, "psi"] if found.drift.psi >= PLAIN_PSI else seen


def moved_embedding(
    embeddings: Iterable[Mapping[str, Any] | EmbeddingSums | None], baseline: Baseline
) -> dict[str, Any] | None:
    """Return how far windows' embedding lies from the baseline's, by the kernel distance of sums of features (MMD).

    None where the baseline has none, or the windows of fewer than two samples.
    """
    if baseline.embedding is None:
        return None
    told = [_sums(one) for one in embeddings if one is not None]
    window = reduce(merge_sums, told) if told else None
    reference = baseline.embedding.reference
    if window is None or min(window.samples, reference.samples) < MIN_SAMPLES:
        return None
    found = feature_mmd(_feature_sums(reference), _feature_sums(window))
    return {
        "distance_squared": found.distance_squared,
        "floor": found.floor,
        "p_value": found.p_value,
        "uncorrelated_p_value": found.uncorrelated_p_value,
        "samples": window.samples,
    }


def finite(value: float) -> float | None:
    """Return a number, None for NaN and infinities, which JSON has not."""
    return value if math.isfinite(value) else None


def _sums(told: Mapping[str, Any] | EmbeddingSums) -> EmbeddingSums:
    if isinstance(told, EmbeddingSums):
        return EmbeddingSums(samples=told.samples, sums=told.sums, squares=told.squares)
    return EmbeddingSums.model_validate({name: told[name] for name in ("samples", "sums", "squares")})


def _feature_sums(sums: EmbeddingSums) -> FeatureSums:
    total = np.array(sums.sums, dtype=np.float64) / EMBEDDING_ONE
    squares = np.array(sums.squares, dtype=np.float64) / EMBEDDING_ONE**2
    return FeatureSums(sums.samples, total, squares)
