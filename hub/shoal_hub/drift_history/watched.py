"""A version's baseline as the history needs it: the reference, which features are categories, and how counts lie."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import String, cast
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.monitoring.drift import thresholds_of
from shoal_hub.monitoring.sketches import reference_of
from shoal_hub.registry.tables import Version
from shoal_numerics import DriftThresholds, Histogram

_KEPT: Final = 16
"""Baselines that are kept read."""
LATENCY_BINS: Final = len(LATENCY_EDGES_MS) + 1


@dataclass(frozen=True, eq=False)
class Watched:
    """What a version's windows are held against.

    Attributes:
        baseline: The version's.
        reference: Its counts.
        categorical: Which features are categories.
    """

    baseline: Baseline
    reference: Histogram
    categorical: tuple[bool, ...]

    @property
    def feature_count(self) -> int:
        """Features that are watched."""
        return len(self.categorical)

    @property
    def thresholds(self) -> DriftThresholds:
        """What the plain rule asks for."""
        return thresholds_of(self.reference)

    @property
    def parts(self) -> NDArray[np.int64]:
        """Where bins, missing values, predictions, confidence and latency end in a period's counts."""
        edges, baseline = self.reference.edges, self.baseline
        sizes = [edges.bin_total, edges.feature_count, len(baseline.predictions), len(baseline.confidence.counts)]
        return np.cumsum([*sizes, LATENCY_BINS])


def find_watched(session: Session, model: str, version: int) -> Watched | None:
    """Return what a version's windows are held against; None where there is no such version."""
    wanted: Any = select_columns(cast(col(Version.baseline), String)).where(
        col(Version.model) == model, col(Version.number) == version
    )
    found: str | None = session.connection().execute(wanted).scalars().first()
    return _read(found) if found is not None else None


@lru_cache(maxsize=_KEPT)
def _read(text: str) -> Watched:
    baseline = Baseline.model_validate_json(text)
    return Watched(baseline, reference_of(baseline), tuple(one.is_categorical for one in baseline.features))
