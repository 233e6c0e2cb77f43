"""The counts of one window: inputs, predictions, confidence and latency over fixed edges, in constant memory.

Single samples wait in a small buffer and are binned together, which is what makes watching cheap.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_agent.monitor.window import FinishedWindow
from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import LATENCY_EDGES_MS, MAX_PACKED_CHARS, SketchCounts
from shoal_numerics import Histogram, HistogramEdges, pack_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

BUFFER_SAMPLES: Final = 64
BUFFER_BYTES: Final = 1024 * 1024
_FLOAT32_BYTES: Final = 4


@dataclass(frozen=True)
class BaselineEdges:
    """The edges of a manifest's baseline: `features` one row a feature, `classes` labels, `confidence` one row."""

    features: HistogramEdges
    confidence: HistogramEdges
    classes: int

    @classmethod
    def of(cls, baseline: Baseline) -> BaselineEdges:
        """Take the edges out of a baseline.

        Raises:
            HistogramError: Edges that are not finite and increasing as float32.
        """
        return cls(
            features=HistogramEdges.from_lists([feature.edges for feature in baseline.features]),
            confidence=HistogramEdges.from_lists([baseline.confidence.edges]),
            classes=len(baseline.predictions),
        )


class WindowSketch:
    """Counts what one version saw since `started_at`. Not safe for concurrent use; `Monitor` holds the lock."""

    def __init__(self, edges: BaselineEdges, started_at: datetime) -> None:
        self.started_at = started_at
        self.answers = 0
        self.errors = 0
        self.labelled_answers = 0
        self.labelled = 0
        self.correct = 0
        self._samples = 0
        self._edges = edges
        self._features = Histogram.empty(edges.features)
        self._confidence = Histogram.empty(edges.confidence)
        self._latency = Histogram.empty(_latency_edges())
        self._predictions = np.zeros(edges.classes, dtype=np.int64)
        width = edges.features.feature_count
        capacity = max(1, min(BUFFER_SAMPLES, BUFFER_BYTES // (_FLOAT32_BYTES * width)))
        self._rows = np.empty((capacity, width), dtype=np.float32)
        self._filled = 0
        self._labels: list[NDArray[np.int64]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._latencies_ms: list[float] = []

    def add(
        self, rows: NDArray[np.float32], labels: NDArray[np.int64], confidence: NDArray[np.float32], latency_ms: float
    ) -> None:
        """Count one answered request.

        Args:
            rows: (n, features) float32, one row a sample; NaN counts as missing. Copied.
            labels: (n,) int64 predicted labels, or (0,) where the model has none.
            confidence: (n,) float32 score of each predicted label, or (0,).
            latency_ms: The time that the request took.
        """
        self.answers += 1
        self._samples += len(rows)
        if len(rows) + self._filled > len(self._rows) or len(self._latencies_ms) >= BUFFER_SAMPLES:
            self._flush()
        if len(rows) > len(self._rows):
            self._features.add(rows)
        else:
            self._rows[self._filled : self._filled + len(rows)] = rows
            self._filled += len(rows)
        self._labels.append(labels)
        self._scores.append(confidence)
        self._latencies_ms.append(latency_ms)

    def finish(self, model: str, version: int, manifest_sha256: str, ended_at: datetime) -> FinishedWindow:
        """Return everything counted; packing may take some ten milliseconds for thousands of features."""
        self._flush()
        features = self._features
        return FinishedWindow(
            model=model,
            version=version,
            manifest_sha256=manifest_sha256,
            started_at=self.started_at,
            ended_at=max(ended_at, self.started_at),
            requests=self.answers + self.errors,
            samples=self._samples,
            errors=self.errors,
            features=_pack(_padded(features)),
            missing=_pack(features.missing[:, np.newaxis]),
            predictions=tuple(self._predictions.tolist()),
            confidence=tuple(self._confidence.counts.tolist()),
            latency=tuple(self._latency.counts.tolist()),
            labelled=self.labelled,
            correct=self.correct,
        )

    def _flush(self) -> None:
        if not self._latencies_ms:
            return
        self._features.add(self._rows[: self._filled])
        self._filled = 0
        self._confidence.add(np.concatenate(self._scores))
        found = np.bincount(np.concatenate(self._labels), minlength=self._edges.classes)
        self._predictions += found[: self._edges.classes]
        self._latency.add(self._latencies_ms)
        self._labels.clear()
        self._scores.clear()
        self._latencies_ms.clear()


def _padded(histogram: Histogram) -> NDArray[np.int64]:
    """Return the counts as (features, most bins of any feature) int64; shorter features end in zeros."""
    sizes = np.diff(histogram.edges.bin_offsets)
    counts = np.zeros((len(sizes), int(sizes.max())), dtype=np.int64)
    counts[np.arange(counts.shape[1]) < sizes[:, np.newaxis]] = histogram.counts
    return counts


def _pack(counts: NDArray[np.int64]) -> SketchCounts:
    rows, bins = counts.shape
    data = base64.b64encode(pack_counts(counts.ravel())).decode()
    if len(data) > MAX_PACKED_CHARS:
        log.warning(
            "a sketch of %d features takes %d characters, at most %d fit: sent empty", rows, len(data), MAX_PACKED_CHARS
        )
        data = base64.b64encode(pack_counts(np.zeros(rows * bins, dtype=np.int64))).decode()
    return SketchCounts(rows=rows, bins=bins, data=data)


@cache
def _latency_edges() -> HistogramEdges:
    return HistogramEdges.from_lists([LATENCY_EDGES_MS])
