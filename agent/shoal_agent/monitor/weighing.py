"""The device's own evidence that the inputs of what it serves have drifted, weighed with each finished window.

It needs no hub, and tells of it what the hub decides by (`shoal_hub.monitoring.evidence`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_agent.monitor.answers import StreamKey
from shoal_agent.monitor.evidence_files import EvidenceFiles
from shoal_contract.desired import DesiredConfig
from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import DriftEvidenceTold, FeatureEvidence
from shoal_numerics import Histogram, HistogramEdges, NumericsError
from shoal_numerics.drift_evidence import DriftEvidence, EvidenceSettings
from shoal_numerics.e_values import e_benjamini_hochberg
from shoal_numerics.watched_shares import WatchedShares

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MOST_FEATURES: Final = 2048
"""Of a version whose drift is weighed: about 3.5 MB."""
ALPHA: Final = 0.05
"""Probability with which a device that does not drift ever says by itself that it does."""
USUAL: Final = EvidenceSettings()
_LEAST_E: Final = 10.0
_TOLD: Final = 64


class _Weighed:
    """The evidence of one version, and when it was written last; it begins as if it just was."""

    def __init__(self, watched: WatchedShares, evidence: DriftEvidence, saved_s: float) -> None:
        self.watched = watched
        self.evidence = evidence
        self.saved_s = saved_s
        self.saved_windows = evidence.windows


class Weighing:
    """The evidence of each version that answers. Safe for use by several threads.

    Args:
        files: Where it is kept when the agent ends; None: nowhere.
        save_every_s: Between two times that the evidence of a version is written.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self,
        files: EvidenceFiles | None = None,
        save_every_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._save_every_s = save_every_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._weighed: dict[StreamKey, _Weighed] = {}
        self._drifted: dict[StreamKey, list[int]] = {}
        self._anew: set[tuple[str, int]] = set()
        """Versions whose file counts for nothing; it is written over with the first window."""

    def weigh(
        self, key: StreamKey, watched: WatchedShares, counted: Histogram, settings: EvidenceSettings = USUAL
    ) -> DriftEvidenceTold | None:
        """Take a window's counts, and return what there is to tell; None of a window without rows.

        Args:
            key: Which version has answered.
            watched: The shares of its baseline.
            counted: The window over the baseline's edges.
            settings: What is tolerated; by others than before, the evidence begins anew.
        """
        if counted.row_count == 0:
            return None
        with self._lock:
            one = self._weighed.get(key)
            if one is None or one.evidence.settings != settings:
                one = self._weighed[key] = self._begin(key, watched, settings)
            one.evidence.add(counted)
            values = one.evidence.values()
            windows = one.evidence.windows
            self._drifted[key] = np.flatnonzero(e_benjamini_hochberg(values, ALPHA)).tolist()
        return _told(windows, values, settings)

    def save(self, *, is_last: bool = False) -> int:
        """Write the evidence that has been written long enough ago, or all of it at the end; return of how many.

        Called from one thread at a time, off the event loop.
        """
        if self._files is None:
            return 0
        now_s = self._monotonic()
        with self._lock:
            due = [
                (key, one, one.evidence.windows, one.evidence.dump())
                for key, one in self._weighed.items()
                if one.evidence.windows != one.saved_windows and (is_last or now_s - one.saved_s >= self._save_every_s)
            ]
        for key, one, windows, state in due:
            self._files.save(key, one.watched, one.evidence.settings, state)
            one.saved_s, one.saved_windows = now_s, windows
        return len(due)

    def keep(self, keys: Sequence[StreamKey]) -> None:
        """Hold no version in memory but these; what is on the disk of others stays for when they answer again."""
        with self._lock:
            for gone in self._weighed.keys() - set(keys):
                del self._weighed[gone]
                self._drifted.pop(gone, None)

    def forget(self, name: str, version: int) -> None:
        """Begin anew with a version; what is on the disk is written over at the next save."""
        with self._lock:
            for gone in [key for key in self._weighed if key[:2] == (name, version)]:
                del self._weighed[gone]
                self._drifted.pop(gone, None)
            self._anew.add((name, version))

    def drifted(self, key: StreamKey) -> list[int]:
        """Return the features of a version that have drifted by the evidence of this device alone."""
        return self._drifted.get(key, [])

    def has_drifted(self, name: str, version: int) -> bool:
        """Whether a version's inputs have drifted by the evidence of this device alone; quick, from any thread."""
        return any(found and key[0] == name and key[1] == version for key, found in list(self._drifted.items()))

    def _begin(self, key: StreamKey, watched: WatchedShares, settings: EvidenceSettings) -> _Weighed:
        is_anew = key[:2] in self._anew
        self._anew.discard((key[0], key[1]))
        kept = self._files.load(key, watched, settings) if self._files is not None and not is_anew else None
        return _Weighed(watched, kept or DriftEvidence(watched, settings), -math.inf if is_anew else self._monotonic())


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


def settings_of(config: DesiredConfig) -> EvidenceSettings:
    """Return what is tolerated by a device's configuration."""
    tolerance, warm_up = config.drift_tolerance, config.drift_warm_up_windows
    return EvidenceSettings(
        tolerance=USUAL.tolerance if tolerance is None else tolerance,
        warm_up_windows=USUAL.warm_up_windows if warm_up is None else warm_up,
        is_recentred=bool(config.drift_is_recentred),
    )


def _told(windows: int, values: NDArray[np.float64], settings: EvidenceSettings) -> DriftEvidenceTold:
    strongest = np.argsort(-values, kind="stable")[:_TOLD]
    features = tuple(
        FeatureEvidence(feature=int(at), log10=math.floor(100 * math.log10(values[at])) / 100)
        for at in strongest
        if values[at] >= _LEAST_E
    )
    warm_up = settings.warm_up_windows
    return DriftEvidenceTold(
        windows=windows,
        features=features,
        warm_up_windows=warm_up if warm_up != USUAL.warm_up_windows else None,
    )
