"""The controlled and the plain rule on real, dated rows, over bins as registration makes them."""

import numpy as np
from false_alarm_parts.dated import Dated, Floats, Stream, first_alarm
from numpy.typing import NDArray

from shoal_numerics import Histogram, HistogramEdges, kolmogorov_p_value
from shoal_numerics.drift_evidence import DriftEvidence
from shoal_numerics.e_values import e_benjamini_hochberg
from shoal_numerics.watched_shares import WatchedShares

ALPHA = 0.05


def controlled(dated: Dated, seed: int) -> int | None:
    """Return the controlled rule's first alarm, see `first_alarm`."""
    stream = dated.stream(seed)
    reference = Histogram.of(edges_of(dated, stream), stream.reference)
    evidence = DriftEvidence(WatchedShares.of(reference, dated.categorical.tolist()))

    def is_drift(rows: Floats) -> bool:
        evidence.add(Histogram.of(reference.edges, rows))
        return bool(e_benjamini_hochberg(evidence.values(), ALPHA).any())

    return first_alarm(stream, is_drift)


def plain(dated: Dated, seed: int) -> int | None:
    """Return the plain rule's first alarm on the same bins: a KS p-value under 0.05 on a feature."""
    stream = dated.stream(seed)
    reference = Histogram.of(edges_of(dated, stream), stream.reference)
    expected = _cumulative(reference)

    def is_drift(rows: Floats) -> bool:
        seen = Histogram.of(reference.edges, rows)
        distance = np.array([np.abs(one - two).max() for one, two in zip(expected, _cumulative(seen), strict=True)])
        p_values = kolmogorov_p_value(distance, reference.samples, np.maximum(seen.samples, 1))
        return bool((p_values[seen.samples > 0] < ALPHA).any())

    return first_alarm(stream, is_drift)


def edges_of(dated: Dated, stream: Stream) -> HistogramEdges:
    """Return the edges that registration gives a baseline: 100 bins of equal mass, or a bin for each category."""
    found = HistogramEdges.equal_mass(stream.reference).to_lists()
    for feature in dated.categorical:
        categories = np.unique(stream.reference[:, feature]).astype(np.float64)
        found[feature] = np.unique(np.concatenate([categories - 0.5, categories + 0.5])).tolist()
    return HistogramEdges.from_lists(found)


def _cumulative(histogram: Histogram) -> list[NDArray[np.float64]]:
    counts = [histogram.of_feature(at) for at in range(histogram.edges.feature_count)]
    return [np.cumsum(one) / max(one.sum(), 1) for one in counts]
