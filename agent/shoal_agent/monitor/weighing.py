"""The device's own evidence that the inputs of what it serves have drifted, weighed with each finished window.

It needs no hub, and tells of it what the hub decides by (`shoal_hub.monitoring.evidence`).
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_agent.monitor.answers import StreamKey
from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import DriftEvidenceTold, FeatureEvidence
from shoal_numerics import Histogram, HistogramEdges, NumericsError
from shoal_numerics.drift_evidence import DriftEvidence
from shoal_numerics.e_values import e_benjamini_hochberg
from shoal_numerics.watched_shares import WatchedShares

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MOST_FEATURES: Final = 2048
"""Of a version whose drift is weighed: about 3.5 MB."""
ALPHA: Final = 0.05
"""Probability with which a device that does not drift ever says by itself that it does."""
_LEAST_E: Final = 10.0
_TOLD: Final = 64


class Weighing:
    """The evidence of each version that answers. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._evidence: dict[StreamKey, DriftEvidence] = {}
        self._drifted: dict[StreamKey, list[int]] = {}

    def weigh(self, key: StreamKey, watched: WatchedShares, counted: Histogram) -> DriftEvidenceTold | None:
        """Take a window's counts, and return what there is to tell; None of a window without rows.

        Args:
            key: Which version has answered.
            watched: The shares of its baseline.
            counted: The window over the baseline's edges.
        """
        if counted.row_count == 0:
            return None
        with self._lock:
            evidence = self._evidence.get(key)
            if evidence is None:
                evidence = self._evidence[key] = DriftEvidence(watched)
            evidence.add(counted)
            values = evidence.values()
            self._drifted[key] = np.flatnonzero(e_benjamini_hochberg(values, ALPHA)).tolist()
        return _told(evidence.windows, values)

    def keep(self, keys: Sequence[StreamKey]) -> None:
        """Forget all versions but these."""
        with self._lock:
            for gone in self._evidence.keys() - set(keys):
                del self._evidence[gone]
                self._drifted.pop(gone, None)

    def forget(self, name: str, version: int) -> None:
        """Begin anew with a version."""
        with self._lock:
            for gone in [key for key in self._evidence if key[:2] == (name, version)]:
                del self._evidence[gone]
                self._drifted.pop(gone, None)

    def drifted(self, key: StreamKey) -> list[int]:
        """Return the features of a version that have drifted by the evidence of this device alone."""
        return self._drifted.get(key, [])

    def has_drifted(self, name: str, version: int) -> bool:
        """Whether a version's inputs have drifted by the evidence of this device alone; quick, from any thread."""
        return any(found and key[0] == name and key[1] == version for key, found in list(self._drifted.items()))


def watched_of(baseline: Baseline, edges: HistogramEdges) -> WatchedShares | None:
    """Return the shares by which a baseline is watched; None of too many features, or with counts that cannot be.

    What is not weighed is counted and told all the same.
    """
    if len(baseline.features) > MOST_FEATURES:
        return None
    counts = np.concatenate([np.asarray(feature.counts, dtype=np.int64) for feature in baseline.features])
    categorical = [at for at, feature in enumerate(baseline.features) if feature.is_categorical]
    try:
        return WatchedShares.of(Histogram(edges, counts, np.array(baseline.missing, dtype=np.int64)), categorical)
    except NumericsError as error:
        log.warning("drift is not weighed against a baseline: %s", error)
        return None


def _told(windows: int, values: NDArray[np.float64]) -> DriftEvidenceTold:
    strongest = np.argsort(-values, kind="stable")[:_TOLD]
    features = tuple(
        FeatureEvidence(feature=int(at), log10=math.floor(100 * math.log10(values[at])) / 100)
        for at in strongest
        if values[at] >= _LEAST_E
    )
    return DriftEvidenceTold(windows=windows, features=features)
