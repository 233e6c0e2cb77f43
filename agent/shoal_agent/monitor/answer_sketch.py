"""The counts of what one version answered: labels, confidence and latency, in constant memory.

Answers wait to be looked at together; who remembers them for their labels gets each one then, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from shoal_agent.monitor.answers import Given
from shoal_agent.monitor.records import NO_LABEL, RecordPlan
from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_numerics import HistogramEdges

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUFFER_ANSWERS: Final = 192
BUFFER_SCORES: Final = 64 * 1024
_FLOAT32_BYTES: Final = 4

Remember: TypeAlias = "Callable[[Sequence[Given], NDArray[np.int32], bytes], None]"
"""Takes answers in order, the (samples of all,) int32 labels that were chosen, and the samples' records."""


class AnswerSketch:
    """Counts labels, confidence and latency. Not safe for concurrent use.

    Args:
        plan: Of the version: bins of the score of each predicted label, labels that are counted, and what is kept of
            answers beside their labels.
        remember: Is given the answers, in the order that they came, by `settle` at the latest.
    """

    def __init__(self, plan: RecordPlan, remember: Remember) -> None:
        self.score_bytes = 0
        """Of one sample's scores, where such have come before; 0 until then."""
        self._most = BUFFER_ANSWERS
        self._settled = 0
        self._edges = plan.confidence
        self._plan = plan
        self._has_numbers, self._has_other = plan.kind == "number", plan.kind == "other"
        self._decisive = bytearray()
        self._remember = remember
        self._predictions = np.zeros(plan.layout.classes, dtype=np.int64)
        self._confidence = np.zeros(plan.confidence.bin_total, dtype=np.int64)
        self._latency = np.zeros(_latency_edges().bin_total, dtype=np.int64)
        self._missing = np.zeros(1, dtype=np.int64)  # scores that are no number, which nobody asks for
        self._scores = bytearray()
        self._latencies_ms: list[float] = []
        self._answers: list[Given] = []

    @property
    def count(self) -> int:
        """How many answers came."""
        return self._settled + len(self._answers)

    def add_one(
        self, answer_id: str, scores: bytes, latency_ms: float, now_s: float, row: NDArray[np.float32] | None = None
    ) -> None:
        """Count an answer of one sample: its scores are float32 as this machine has it, `score_bytes` long, or none.

        Args:
            answer_id: What it is called.
            scores: Of its classes, or its one number.
            latency_ms: What it took.
            now_s: The monotonic clock.
            row: (1, features) float32, where slices are asked for.
        """
        self._scores += scores
        if row is not None and scores:
            self._decisive += self._plan.decisive(row).tobytes()
        self._latencies_ms.append(latency_ms)
        self._answers.append((answer_id, 1 if scores or self._has_other else 0, now_s))
        if len(self._answers) >= self._most:
            self.settle()

    def add(
        self,
        answer_id: str,
        scores: NDArray[np.float32],
        latency_ms: float,
        now_s: float,
        rows: NDArray[np.float32] | None = None,
    ) -> None:
        """Count an answer.

        Args:
            answer_id: What it is called.
            scores: (samples, classes) float32, (samples, 1) of numbers, without rows where the model gives none.
            latency_ms: What it took.
            now_s: The monotonic clock.
            rows: (samples, features) float32, where slices are asked for.
        """
        if len(scores):
            row_bytes = scores.shape[1] * scores.itemsize
            if row_bytes != self.score_bytes or len(self._scores) + scores.nbytes > BUFFER_SCORES:
                self.settle()
                self.score_bytes = row_bytes
                self._most = max(1, min(BUFFER_ANSWERS, BUFFER_SCORES // row_bytes))
            self._scores += scores.tobytes()
            if rows is not None:
                self._decisive += self._plan.decisive(rows).tobytes()
        self._latencies_ms.append(latency_ms)
        self._answers.append((answer_id, 1 if self._has_other else len(scores), now_s))
        if len(self._answers) >= self._most or len(self._scores) > BUFFER_SCORES:
            self.settle()

    def settle(self) -> None:
        """Look at the answers that wait, and hand them on."""
        if not self._answers:
            return
        labels, records = self._labels() if self._scores else (np.empty(0, dtype=np.int32), b"")
        if self._has_other:
            labels = np.full(len(self._answers), NO_LABEL, dtype=np.int32)
        self._scores, self._decisive = bytearray(), bytearray()
        latencies_ms = np.array(self._latencies_ms, dtype=np.float32)[:, np.newaxis]
        _latency_edges().count(latencies_ms, self._latency, self._missing)
        self._settled += len(self._answers)
        self._remember(self._answers, labels, records)
        self._answers.clear()
        self._latencies_ms.clear()

    def finish(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return the counts of labels, of confidence and of latency."""
        self.settle()
        return tuple(self._predictions.tolist()), tuple(self._confidence.tolist()), tuple(self._latency.tolist())

    def _labels(self) -> tuple[NDArray[np.int32], bytes]:
        """Return the label of each sample that waits, counted with its score, and the samples' records."""
        scores = np.frombuffer(self._scores, dtype=np.float32).reshape(-1, self.score_bytes // _FLOAT32_BYTES)
        slices = len(self._plan.slices)
        decisive = np.frombuffer(self._decisive, dtype=np.float32).reshape(len(scores) if slices else 0, slices)
        if self._has_numbers:
            nothing = np.full(len(scores), NO_LABEL, dtype=np.int32)
            return nothing, self._plan.records(scores, nothing, decisive).tobytes()
        chosen = scores.argmax(axis=1)
        confidence = scores[np.arange(len(scores)), chosen]
        labels: NDArray[np.int32] = chosen.astype(np.int32)
        self._edges.count(confidence[:, np.newaxis], self._confidence, self._missing)
        classes = len(self._predictions)
        self._predictions += np.bincount(labels, minlength=classes)[:classes]
        return labels, self._plan.records(scores, labels, decisive).tobytes()


@cache
def _latency_edges() -> HistogramEdges:
    return HistogramEdges.from_lists([LATENCY_EDGES_MS])
