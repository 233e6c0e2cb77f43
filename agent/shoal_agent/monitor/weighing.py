"""The device's own evidence that the inputs of what it serves have drifted, weighed with each finished window.

It needs no hub, and tells of it what the hub decides by (`shoal_hub.monitoring.evidence`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_agent.monitor.answers import StreamKey
from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import DriftEvidenceTold, FeatureEvidence
from shoal_numerics import Histogram, HistogramEdges
from shoal_numerics.drift_evidence import DriftEvidence
from shoal_numerics.e_values import e_benjamini_hochberg
from shoal_numerics.watched_shares import WatchedShares

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_FEATURES: Final = 2048
"""Of a version whose drift is weighed: about 1.4 MB."""
ALPHA: Final = 0.05
"""Probability with which a device that does not drift ever says by itself that it does."""
_LEAST_E: Final = 10.0
_MOST_LOG10: Final = 30.0
_TOLD: Final = 64


class Weighing:
    """The evidence of each version that answers. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._evidence: dict[StreamKey, DriftEvidence] = {}

    def weigh(self, key: StreamKey, baseline: Baseline, counted: Histogram) -> DriftEvidenceTold | None:
        """Take a window's counts, and return what there is to tell; None where nothing is weighed.

        Args:
            key: Which version has answered.
            baseline: Its baseline.
            counted: The window over the baseline's edges.
        """
        if counted.row_count == 0 or len(baseline.features) > MOST_FEATURES:
            return None
        with self._lock:
            evidence = self._evidence.get(key)
            if evidence is None:
                evidence = self._evidence[key] = DriftEvidence(watched_of(baseline, counted.edges))
            evidence.add(counted)
            values = evidence.values()
        return _told(evidence.windows, values)

    def keep(self, keys: Sequence[StreamKey]) -> None:
        """Forget all versions but these."""
        with self._lock:
            for gone in self._evidence.keys() - set(keys):
                del self._evidence[gone]

    def drifted(self, key: StreamKey) -> list[int]:
        """Return the features of a version that have drifted by the evidence of this device alone."""
        with self._lock:
            evidence = self._evidence.get(key)
            if evidence is None:
                return []
            found: list[int] = np.flatnonzero(e_benjamini_hochberg(evidence.values(), ALPHA)).tolist()
        return found


def watched_of(baseline: Baseline, edges: HistogramEdges) -> WatchedShares:
    """Return the shares by which a baseline is watched."""
    counts = np.concatenate([np.asarray(feature.counts, dtype=np.int64) for feature in baseline.features])
    categorical = [at for at, feature in enumerate(baseline.features) if feature.is_categorical]
    return WatchedShares.of(Histogram(edges, counts, np.array(baseline.missing, dtype=np.int64)), categorical)


def _told(windows: int, values: NDArray[np.float64]) -> DriftEvidenceTold:
    strongest = np.argsort(-values, kind="stable")[:_TOLD]
    features = tuple(
        FeatureEvidence(feature=int(at), log10=min(round(math.log10(values[at]), 2), _MOST_LOG10))
        for at in strongest
        if values[at] >= _LEAST_E
    )
    return DriftEvidenceTold(windows=windows, features=features)
