"""The counts of one window: inputs, predictions, confidence and latency over fixed edges, in constant memory.

Single samples wait in a small buffer and are binned together, which is what makes watching cheap.
"""

import base64
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_agent.monitor.window import FinishedWindow
from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import LATENCY_EDGES_MS, MAX_PACKED_CHARS, SketchCounts
from shoal_numerics import Histogram, HistogramEdges, pack_counts

log = logging.getLogger(__name__)

BUFFER_SAMPLES: Final = 64
BUFFER_BYTES: Final = 1024 * 1024
_FLOAT32_BYTES: Final = 4
_LATENCY_EDGES: Final = HistogramEdges.from_lists([LATENCY_EDGES_MS])


@dataclass(frozen=True)
class BaselineEdges:
    """The edges of a manifest's baseline: `features` one row a feature, `classes` labels, `confidence` one row."""

    features: HistogramEdges
    confidence: HistogramEdges
    classes: int

    @classmethod
    def of(cls, baseline: Baseline) -> "BaselineEdges":
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
        self._latency = Histogram.empty(_LATENCY_EDGES)
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
        features, missing, too_large = _packed(_padded(self._features), self._features.missing[:, np.newaxis])
        return FinishedWindow(
            model=model,
            version=version,
            manifest_sha256=manifest_sha256,
            started_at=self.started_at,
            ended_at=max(ended_at, self.started_at),
            requests=self.answers + self.errors,
            samples=self._samples,
            errors=self.errors,
            features=features,
            missing=missing,
            predictions=tuple(self._predictions.tolist()),
            confidence=tuple(self._confidence.counts.tolist()),
            latency=tuple(self._latency.counts.tolist()),
            labelled=self.labelled,
            correct=self.correct,
            left_out={"features": too_large} if too_large else None,
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


def _packed(counts: NDArray[np.int64], missing: NDArray[np.int64]) -> tuple[SketchCounts, SketchCounts, str]:
    """Return both packed; empty, both of them, and why, where one is too large for a message."""
    texts, why = [_pack(counts), _pack(missing)], ""
    longest = max(map(len, texts))
    if longest > MAX_PACKED_CHARS:
        why = f"counts of {len(counts)} features take {longest} characters, at most {MAX_PACKED_CHARS} fit"
        log.warning("the sketch of a window is sent empty: %s", why)
        texts = [_pack(np.zeros_like(counts)), _pack(np.zeros_like(missing))]
    rows, bins = counts.shape
    return SketchCounts(rows=rows, bins=bins, data=texts[0]), SketchCounts(rows=rows, bins=1, data=texts[1]), why


def _pack(counts: NDArray[np.int64]) -> str:
    return base64.b64encode(pack_counts(counts.ravel())).decode()
