"""The controlled rule on one chunk of streams: evidence of each feature, e-BH over the features, at every window."""

import numpy as np
from false_alarm_parts.streams import CHUNK, FEATURES, VALUES, Streams
from numpy.typing import NDArray

from shoal_numerics import Histogram, HistogramEdges, kolmogorov_p_value
from shoal_numerics.drift_evidence import DriftEvidence
from shoal_numerics.watched_shares import Shares, WatchedShares

ALPHA = 0.05


def first_alarms(streams: Streams, windows: int) -> NDArray[np.int64]:
    """Return the window of each stream's first alarm from the shift on (0 without one), -1 where there is none.

    An alarm before the shift counts as -2: it was false.
    """
    columns = streams.reference.reshape(len(streams.reference), -1)
    edges = HistogramEdges.equal_mass(columns)
    watched = WatchedShares.of(Histogram.of(edges, columns))
    evidence = DriftEvidence(watched)
    values_at = np.clip(watched.stop - watched.feature - 1, 0, None)
    limits = edges.values[values_at][:, np.newaxis]
    sizes = np.full(len(limits), VALUES)
    found = np.full(CHUNK, -1)
    since = streams.shift.at if streams.shift else 0
    for window, values in enumerate(streams.windows(windows)):
        below = values.reshape(-1, VALUES)[watched.feature] <= limits
        share = below.sum(axis=1, dtype=np.int64) / VALUES
        share[watched.is_missing] = 0.0
        evidence.add_shares(Shares(share, sizes))
        alarmed = rejects_any(evidence.values().reshape(CHUNK, FEATURES))
        found[(found == -1) & alarmed] = window if window >= since else -2
        if (found != -1).all():
            break
    return found


def rejects_any(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each stream whether e-BH over its features rejects one, (streams,) bool."""
    falling = -np.sort(-values, axis=1)
    enough = falling >= FEATURES / (ALPHA * np.arange(1, FEATURES + 1))
    alarmed: NDArray[np.bool_] = np.logical_or.reduce(enough, axis=1)
    return alarmed


def plain_first_alarms(streams: Streams, windows: int) -> NDArray[np.int64]:
    """The plain rule on the same data: a KS p-value under 0.05 on a feature."""
    ordered = np.sort(streams.reference, axis=0)
    rows = len(ordered)
    found = np.full(CHUNK, -1)
    since = streams.shift.at if streams.shift else 0
    for window, values in enumerate(streams.windows(windows)):
        for stream in np.flatnonzero(found == -1):
            distance = np.array([_ks(ordered[:, stream, at], values[stream, at]) for at in range(FEATURES)])
            sizes = np.full(FEATURES, rows), np.full(FEATURES, VALUES)
            if (kolmogorov_p_value(distance, *sizes) < ALPHA).any():
                found[stream] = window if window >= since else -2
        if (found != -1).all():
            break
    return found


def _ks(ordered: NDArray[np.float32], values: NDArray[np.float32]) -> float:
    mine = np.sort(values)
    at = ordered.searchsorted(mine, side="right") / len(ordered)
    steps = np.arange(1, len(mine) + 1) / len(mine)
    return float(max((steps - at).max(), (at - steps + 1 / len(mine)).max()))
