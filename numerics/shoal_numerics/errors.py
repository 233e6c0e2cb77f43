"""The errors of shoal_numerics: one root, one class a concept, so that callers catch what they can act on."""


class NumericsError(ValueError):
    """Root of all errors that shoal_numerics raises for bad input."""


class HistogramError(NumericsError):
    """Edges, counts or values that a histogram cannot take, or two histograms that do not fit together."""


class PackingError(NumericsError):
    """Packed counts that are malformed, too long or made for other edges."""


class DriftError(NumericsError):
    """Arguments from which no drift statistic can be computed."""


class EmbeddingError(NumericsError):
    """Settings from which no embedding can be made, or sums of embeddings that do not fit together."""


class CompressedDataError(NumericsError):
    """Compressed bytes that are truncated, corrupt or longer than the caller allows."""


class DeltaError(NumericsError):
    """A delta that is malformed, too large, made for another base, or whose result is not the named one."""


class UpdateError(NumericsError):
    """A federated update (or weights) with wrong shapes, values, base, size or encoding."""


class GateError(NumericsError):
    """Settings or evidence of a gate from which no verdict can be made."""


class FeatureError(NumericsError):
    """A feature definition that cannot be computed, events of the wrong form, or a state of another definition."""


class PerformanceError(NumericsError):
    """Truths, answers or counts of them that are malformed or do not fit together."""


class ProfileError(NumericsError):
    """What a runtime's profiler wrote is not what is expected, or tells too much for the wire."""
