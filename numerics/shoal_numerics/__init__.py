"""What hub and devices compute with alike: sketches, drift tests, gates, delta and update coding, features.

Pure and vectorised, no I/O; needs numpy and zstd alone. The wire messages that carry these bytes are
shoal_contract's, the schedule on which they are made is the agent's and the hub's.
"""

from importlib import import_module
from typing import TYPE_CHECKING

# Not late: the function has its module's name, which the module would take once it is imported.
from shoal_numerics.sample_statistics import STATISTICS, sample_statistics

if TYPE_CHECKING:
    from shoal_numerics.accuracy_estimate import AccuracyEstimate, Calibration, estimate_accuracy
    from shoal_numerics.alpha_budget import AlphaBudget, Levels
    from shoal_numerics.chi_squared import ChiSquared, chi_squared_test
    from shoal_numerics.delta import apply_delta, best_delta, encode_delta
    from shoal_numerics.drift import (
        DriftThresholds,
        DriftVerdict,
        FeatureDrift,
        benjamini_hochberg,
        detect_drift,
        ks_distance,
        ks_resolution,
        population_stability_index,
    )
    from shoal_numerics.edges import HistogramEdges
    from shoal_numerics.embedding import Embedding, merge_sums
    from shoal_numerics.errors import (
        CompressedDataError,
        DeltaError,
        DriftError,
        EmbeddingError,
        FeatureError,
        GateError,
        HistogramError,
        NumericsError,
        PackingError,
        UpdateError,
    )
    from shoal_numerics.gate_evidence import (
        DeviceTotals,
        Evidence,
        histogram_mean,
        histogram_quantile,
        histogram_share_over,
    )
    from shoal_numerics.gate_metrics import GateMetric, Verdict
    from shoal_numerics.gate_thresholds import DifferenceLimit, FailureLimit, ThresholdResult
    from shoal_numerics.gates import Arm, GateResult, MetricResult, evaluate_gate, evaluate_metric
    from shoal_numerics.histogram import Histogram
    from shoal_numerics.jensen_shannon import jensen_shannon_distance, jensen_shannon_floor
    from shoal_numerics.kernel_distance import FeatureMmd, FeatureSums, feature_mmd
    from shoal_numerics.kolmogorov import kolmogorov_p_value
    from shoal_numerics.moment_shift import MomentShift, SampleMoments, mean_shift, variance_shift
    from shoal_numerics.packing import pack_counts, unpack_counts
    from shoal_numerics.update_coding import decode_update, encode_update, weighted_mean, weights_sha256
    from shoal_numerics.window_counts import MAX_WINDOW_ROWS, WindowCounts

__all__ = [
    "MAX_WINDOW_ROWS",
    "STATISTICS",
    "AccuracyEstimate",
    "AlphaBudget",
    "Arm",
    "Calibration",
    "ChiSquared",
    "CompressedDataError",
    "DeltaError",
    "DeviceTotals",
    "DifferenceLimit",
    "DriftError",
    "DriftThresholds",
    "DriftVerdict",
    "Embedding",
    "EmbeddingError",
    "Evidence",
    "FailureLimit",
    "FeatureDrift",
    "FeatureError",
    "FeatureMmd",
    "FeatureSums",
    "GateError",
    "GateMetric",
    "GateResult",
    "Histogram",
    "HistogramEdges",
    "HistogramError",
    "Levels",
    "MetricResult",
    "MomentShift",
    "NumericsError",
    "PackingError",
    "SampleMoments",
    "ThresholdResult",
    "UpdateError",
    "Verdict",
    "WindowCounts",
    "apply_delta",
    "benjamini_hochberg",
    "best_delta",
    "chi_squared_test",
    "decode_update",
    "detect_drift",
    "encode_delta",
    "encode_update",
    "estimate_accuracy",
    "evaluate_gate",
    "evaluate_metric",
    "feature_mmd",
    "histogram_mean",
    "histogram_quantile",
    "histogram_share_over",
    "jensen_shannon_distance",
    "jensen_shannon_floor",
    "kolmogorov_p_value",
    "ks_distance",
    "ks_resolution",
    "mean_shift",
    "merge_sums",
    "pack_counts",
    "population_stability_index",
    "sample_statistics",
    "unpack_counts",
    "variance_shift",
    "weighted_mean",
    "weights_sha256",
]

_PLACES = {
    "accuracy_estimate": (
        "AccuracyEstimate",
        "Calibration",
        "estimate_accuracy",
    ),
    "alpha_budget": (
        "AlphaBudget",
        "Levels",
    ),
    "chi_squared": (
        "ChiSquared",
        "chi_squared_test",
    ),
    "delta": (
        "apply_delta",
        "best_delta",
        "encode_delta",
    ),
    "drift": (
        "DriftThresholds",
        "DriftVerdict",
        "FeatureDrift",
        "benjamini_hochberg",
        "detect_drift",
        "ks_distance",
        "ks_resolution",
        "population_stability_index",
    ),
    "edges": ("HistogramEdges",),
    "embedding": (
        "Embedding",
        "merge_sums",
    ),
    "errors": (
        "CompressedDataError",
        "DeltaError",
        "DriftError",
        "EmbeddingError",
        "FeatureError",
        "GateError",
        "HistogramError",
        "NumericsError",
        "PackingError",
        "UpdateError",
    ),
    "gate_evidence": (
        "DeviceTotals",
        "Evidence",
        "histogram_mean",
        "histogram_quantile",
        "histogram_share_over",
    ),
    "gate_metrics": (
        "GateMetric",
        "Verdict",
    ),
    "gate_thresholds": (
        "DifferenceLimit",
        "FailureLimit",
        "ThresholdResult",
    ),
    "gates": (
        "Arm",
        "GateResult",
        "MetricResult",
        "evaluate_gate",
        "evaluate_metric",
    ),
    "histogram": ("Histogram",),
    "jensen_shannon": (
        "jensen_shannon_distance",
        "jensen_shannon_floor",
    ),
    "kernel_distance": (
        "FeatureMmd",
        "FeatureSums",
        "feature_mmd",
    ),
    "kolmogorov": ("kolmogorov_p_value",),
    "moment_shift": (
        "MomentShift",
        "SampleMoments",
        "mean_shift",
        "variance_shift",
    ),
    "packing": (
        "pack_counts",
        "unpack_counts",
    ),
    "sample_statistics": (
        "STATISTICS",
        "sample_statistics",
    ),
    "update_coding": (
        "decode_update",
        "encode_update",
        "weighted_mean",
        "weights_sha256",
    ),
    "window_counts": (
        "MAX_WINDOW_ROWS",
        "WindowCounts",
    ),
}
"""What is in which part."""


def __getattr__(name: str) -> object:
    """Import a name's part when it is first asked for: a device needs few of them, and what it imports it holds."""
    for part, names in _PLACES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"{__name__}.{part}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
