"""What a window tells beside the counts of its features: an embedding, slices and requests that did not fit.

In constant memory, which `WindowParts.size_bytes` says: embedded samples wait as 32 numbers each, and samples of
slices as the few features that decide, in buffers that are counted when they are full.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from shoal_agent.engines import Array
from shoal_agent.monitor.budget import SketchBudget
from shoal_agent.monitor.rows import embedded_rows
from shoal_agent.monitor.window import FinishedWindow
from shoal_agent.serving.models import ServedModel
from shoal_contract.embedding import EMBEDDING_FEATURES, EmbeddingCounts
from shoal_contract.manifest import Baseline
from shoal_contract.slices import SliceBaseline, SliceCounts
from shoal_contract.telemetry import Misfit, SchemaMisfits
from shoal_numerics import Embedding, Histogram, HistogramEdges
from shoal_numerics.embedding import PROJECTED
from shoal_numerics.slices import in_slice

if TYPE_CHECKING:
    from numpy.typing import NDArray

EMBEDDED_EACH: Final = 8
"""Samples of one request that are embedded, the first ones."""
EMBEDDED: Final = 1024
"""Samples of one window that are embedded, the first ones; the window says how many."""
_WAITING: Final = 64


@dataclass(frozen=True)
class PartsPlan:
    """What a version's windows tell beside its features, by its baseline; made once a version.

    Attributes:
        edges: The first 8 bytes of the SHA-256 of the features' edges, in hexadecimal digits.
        embedding: How samples are embedded; None: they are not.
        slices: The baseline's.
        confidence: The edges of a slice's confidence.
        classes: Labels that are counted.
        features: Of a sample.
    """

    edges: str
    embedding: Embedding | None
    slices: tuple[SliceBaseline, ...]
    confidence: HistogramEdges
    classes: int
    features: int
    columns: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Choose the features that decide of slices, one for each slice."""
        columns = np.array([one.feature for one in self.slices], dtype=np.int64)
        object.__setattr__(self, "columns", columns)

    @classmethod
    def of(cls, baseline: Baseline, features: HistogramEdges, confidence: HistogramEdges) -> PartsPlan:
        """Return the plan of a baseline whose edges have been read."""
        return cls(
            edges=features.sha256[:16],
            embedding=None if baseline.embedding is None else Embedding.of(baseline.embedding),
            slices=baseline.slices or (),
            confidence=confidence,
            classes=len(baseline.predictions),
            features=features.feature_count,
        )


class Shown(NamedTuple):
    """How much of a request the parts may look at.

    Attributes:
        rows: Samples for the slices, the first ones.
        embedded: Of the samples, how many may be embedded, the first ones.
    """

    rows: int
    embedded: int


class WindowParts:
    """Counts of one window. What is shown is counted under a lock of its own, so that nobody waits for it who answers.

    Args:
        plan: What is counted.
        budget: What is looked at is taken from it, by `grant`; None: there is no bound.
    """

    def __init__(self, plan: PartsPlan, budget: SketchBudget | None = None) -> None:
        self._plan = plan
        self._budget = budget
        self._lock = threading.Lock()
        self._is_finished = False
        self._embedded_values = plan.features
        self._misfits = Counter[Misfit]()
        self._embedded = _EmbeddedSamples(plan.embedding) if plan.embedding is not None else None
        self._slices = _Slices(plan) if plan.slices else None

    @property
    def size_bytes(self) -> int:
        """What it holds in arrays, whatever it has counted: all of them are made at the start."""
        return sum(part.size_bytes for part in (self._embedded, self._slices) if part is not None)

    @property
    def see_samples(self) -> bool:
        """Whether the baseline asks anything of samples; otherwise they need not be shown."""
        return self._embedded is not None or self._slices is not None

    @property
    def embeds(self) -> int:
        """How many samples of the next request are to be embedded."""
        return min(EMBEDDED_EACH, EMBEDDED - self._embedded.samples) if self._embedded is not None else 0

    def grant(self, rows: int, now_s: float) -> Shown:
        """Return how much of a request may be looked at; it counts as looked at.

        Not safe for concurrent use, as the budget is shared; `Monitor` holds its lock.

        Args:
            rows: The request's samples.
            now_s: The monotonic clock.
        """
        embedded = min(rows, self.embeds)
        if self._budget is None:
            return Shown(rows, embedded)
        if self._slices is not None:
            rows = self._budget.grant(rows, len(self._plan.slices), now_s)
        return Shown(rows, self._budget.grant(embedded, self._embedded_values, now_s) if embedded else 0)

    def note_misfit(self, misfit: Misfit) -> None:
        """Count a request that did not fit the model's schema; `Monitor` holds its lock."""
        self._misfits[misfit] += 1

    def observe(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        rows: NDArray[np.float32],
        scores: NDArray[np.float32],
        shown: Shown,
    ) -> None:
        """Count one answered request by its arrays, by any thread; what comes after `finish` is let go.

        Args:
            served: What answered.
            inputs: The request's arrays by name.
            outputs: The answer's arrays by name.
            rows: (n, features) float32.
            scores: (n, classes) float32, or without rows where the model has none.
            shown: What `grant` has returned for it.
        """
        embedded = embedded_rows(served, inputs, outputs, shown.embedded)
        scores = scores[: shown.rows]
        self.add(rows[: shown.rows], scores.argmax(axis=1), scores.max(axis=1), embedded)

    def add(
        self,
        rows: NDArray[np.float32],
        labels: NDArray[np.int64],
        confidence: NDArray[np.float32],
        embedded: NDArray[np.float32],
    ) -> None:
        """Count one answered request; nothing of it is kept but copies in buffers.

        Args:
            rows: (n, features) float32.
            labels: (n,) int64 predicted labels, or (0,) where the model has none.
            confidence: (n,) float32, or (0,).
            embedded: (m, values) float32, what stands for the first m samples in the embedding; m is at most `embeds`.
        """
        with self._lock:
            if self._is_finished:
                return
            if self._embedded is not None and len(embedded):
                self._embedded_values = embedded.shape[1]
                self._embedded.add(embedded[: EMBEDDED - self._embedded.samples])
            if self._slices is not None and len(rows):
                self._slices.add(rows[:, self._plan.columns], labels, confidence)

    def finish(self, window: FinishedWindow) -> FinishedWindow:
        """Return the window with these parts, which count no more."""
        with self._lock:
            self._is_finished = True
            embedding = self._embedded.finish() if self._embedded is not None else None
            slices = self._slices.finish() if self._slices is not None else None
        return replace(
            window,
            edges=self._plan.edges,
            embedding=embedding,
            slices=slices,
            misfits=SchemaMisfits.model_validate(self._misfits) if self._misfits else None,
        )


class _EmbeddedSamples:
    """Sums of embedded samples."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self._waiting = np.empty((_WAITING, PROJECTED), dtype=np.float32)
        self._filled = 0
        self._sums, self._squares = np.zeros((2, EMBEDDING_FEATURES), dtype=np.int64)
        self.samples = 0

    @property
    def size_bytes(self) -> int:
        return self._waiting.nbytes + self._sums.nbytes + self._squares.nbytes

    def add(self, rows: NDArray[np.float32]) -> None:
        if self._filled + len(rows) > len(self._waiting):
            self._flush()
        self._waiting[self._filled : self._filled + len(rows)] = self._embedding.project(rows)
        self._filled += len(rows)
        self.samples += len(rows)

    def finish(self) -> EmbeddingCounts:
        self._flush()
        return EmbeddingCounts(
            seed=self._embedding.seed,
            samples=self.samples,
            sums=tuple(self._sums.tolist()),
            squares=tuple(self._squares.tolist()),
        )

    def _flush(self) -> None:
        found = self._embedding.cosines(self._waiting[: self._filled])
        self._sums += found.sum(axis=0)
        self._squares += (found * found).sum(axis=0)
        self._filled = 0


class _Slices:
    """Counts of each slice."""

    def __init__(self, plan: PartsPlan) -> None:
        self._plan = plan
        count = len(plan.slices)
        self._values = np.empty((_WAITING, count), dtype=np.float32)
        self._labels = np.empty(_WAITING, dtype=np.int64)
        self._confidence = np.empty(_WAITING, dtype=np.float32)
        self._filled = self._answered = 0
        self._samples = np.zeros(count, dtype=np.int64)
        self._predictions = [np.zeros(len(one.reference.predictions), dtype=np.int64) for one in plan.slices]
        self._histograms = [Histogram.empty(plan.confidence) for _ in plan.slices]

    @property
    def size_bytes(self) -> int:
        waiting = self._values.nbytes + self._labels.nbytes + self._confidence.nbytes
        counts = sum(one.counts.nbytes + one.missing.nbytes for one in self._histograms)
        return waiting + counts + self._samples.nbytes + sum(one.nbytes for one in self._predictions)

    def add(self, values: NDArray[np.float32], labels: NDArray[np.int64], confidence: NDArray[np.float32]) -> None:
        """Count samples: at once where they are many, or of another kind than those that wait."""
        if len(values) > _WAITING:
            self._flush()
            self._count(values, labels, confidence)
            return
        has_answers = len(labels) == len(values)
        if self._filled + len(values) > _WAITING or has_answers != (self._answered == self._filled):
            self._flush()
        within = slice(self._filled, self._filled + len(values))
        self._values[within] = values
        if has_answers:
            self._labels[within], self._confidence[within] = labels, confidence
            self._answered += len(values)
        self._filled += len(values)

    def finish(self) -> tuple[SliceCounts, ...]:
        self._flush()
        parts = zip(self._samples.tolist(), self._predictions, self._histograms, strict=True)
        return tuple(
            SliceCounts(
                samples=samples, predictions=tuple(predictions.tolist()), confidence=tuple(histogram.counts.tolist())
            )
            for samples, predictions, histogram in parts
        )

    def _flush(self) -> None:
        if self._filled:
            answered = slice(0, self._answered)
            self._count(self._values[: self._filled], self._labels[answered], self._confidence[answered])
        self._filled = self._answered = 0

    def _count(self, values: NDArray[np.float32], labels: NDArray[np.int64], confidence: NDArray[np.float32]) -> None:
        for place, one in enumerate(self._plan.slices):
            within = in_slice(values[:, place], one.low, one.high, one.equals)
            self._samples[place] += np.count_nonzero(within)
            if len(labels) != len(values):
                continue
            self._histograms[place].add(confidence[within])
            predictions = self._predictions[place]
            if len(predictions):
                predictions += np.bincount(labels[within], minlength=len(predictions))[: len(predictions)]
