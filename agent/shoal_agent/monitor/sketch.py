"""The counts of one window: inputs, predictions, confidence and latency over fixed edges, in constant memory."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shoal_agent.monitor.answer_sketch import AnswerSketch, Remember
from shoal_agent.monitor.answers import Answer
from shoal_agent.monitor.budget import SketchBudget
from shoal_agent.monitor.feature_sketch import FeatureSketch
from shoal_agent.monitor.records import RecordPlan
from shoal_agent.monitor.truths import Truth, WindowTruths
from shoal_agent.monitor.window import FinishedWindow
from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import MAX_PACKED_CHARS, DriftEvidenceTold, SketchCounts, WindowPart
from shoal_numerics import Histogram, HistogramEdges, pack_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
Weigh = Callable[[Histogram], "DriftEvidenceTold | None"]


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
    """Counts what one version saw since `started_at`. Not safe for concurrent use; `Monitor` holds the lock.

    Args:
        edges: The bins.
        started_at: When the window began.
        budget: Says how many rows are sketched.
        remember: Is given each answer, see `AnswerSketch`.
        plan: What is kept of answers beside their labels.
    """

    def __init__(
        self,
        edges: BaselineEdges,
        started_at: datetime,
        budget: SketchBudget,
        remember: Remember,
        plan: RecordPlan,
    ) -> None:
        self.started_at = started_at
        self.errors = 0
        self.labelled_answers = 0
        self.labelled = 0
        self.correct = 0
        self.features = FeatureSketch(edges.features, budget)
        self.answers = AnswerSketch(plan, remember)
        self.truths = WindowTruths(plan)
        self.kind = plan.kind
        self._has_slices = bool(plan.slices)

    def add(
        self,
        rows: NDArray[np.float32],
        answer_id: str,
        scores: NDArray[np.float32],
        latency_ms: float,
        now_s: float,
    ) -> None:
        """Count one answered request.

        Args:
            rows: (n, features) float32, one row a sample; NaN counts as missing. Copied.
            answer_id: What the answer is called.
            scores: (n, classes) float32 of each sample, (n, 1) of numbers, or without rows where the model has none.
                Copied.
            latency_ms: The time that the request took.
            now_s: The monotonic clock.
        """
        self.features.add(rows, now_s)
        self.answers.add(answer_id, scores, latency_ms, now_s, rows if self._has_slices else None)

    def add_truth(self, truth: Truth, answer: Answer, correct: int) -> None:
        """Count what is known of one answer, once it was checked (`truths.check_truth`).

        Args:
            truth: What is known.
            answer: Of which answer, whose labels had not come.
            correct: How many of its samples were predicted right.
        """
        self.labelled_answers += 1
        predicted = answer.predicted
        if predicted is not None and truth.labels is not None:
            self.labelled += len(truth.labels)
            self.correct += correct
            self.truths.add_labels(truth.labels, predicted, answer.records)
        if truth.values is not None:
            self.truths.add_numbers(truth.values, answer.records)
        self.truths.add_metrics(truth.metrics)

    def close(self) -> None:
        """Count no more; what is shared with other windows is touched for the last time."""
        self.answers.settle()
        self.features.close()

    def finish(
        self, model: str, version: int, manifest_sha256: str, ended_at: datetime, weigh: Weigh | None = None
    ) -> FinishedWindow:
        """Return everything counted, after `close`; packing may take milliseconds for thousands of features.

        Args:
            model: What has answered.
            version: Of it.
            manifest_sha256: Of that.
            ended_at: When the window ended.
            weigh: Takes the counts and says what evidence of drift there is now.
        """
        counted = self.features.finish()
        predictions, confidence, latency = self.answers.finish()
        packed = _packed(counted)
        performance, unfit = self.truths.finish()
        left_out: dict[WindowPart, str] = {"features": packed.why} if packed.why else {}
        if unfit:
            left_out["performance"] = unfit
        return FinishedWindow(
            model=model,
            version=version,
            manifest_sha256=manifest_sha256,
            started_at=self.started_at,
            ended_at=max(ended_at, self.started_at),
            requests=self.answers.count + self.errors,
            samples=self.features.seen,
            errors=self.errors,
            features=packed.features,
            missing=packed.missing,
            predictions=predictions,
            confidence=confidence,
            latency=latency,
            labelled=self.labelled,
            correct=self.correct,
            unsketched=self.features.seen - packed.samples,
            left_out=left_out or None,
            evidence=weigh(counted) if weigh is not None else None,
            performance=performance,
        )


class _Packed(NamedTuple):
    features: SketchCounts
    missing: SketchCounts
    samples: int
    why: str
    """Why they count no sample; empty: they count all."""


def _packed(counted: Histogram, why: str = "") -> _Packed:
    """Pack counts for a message; where they are too large for one, they count no sample at all, and it says why."""
    parts = [_pack(counted.padded()), _pack(counted.missing[:, np.newaxis])]
    longest = max(len(data) for _, data in parts)
    if longest <= MAX_PACKED_CHARS:
        [features, missing] = [SketchCounts(rows=rows, bins=bins, data=data) for (rows, bins), data in parts]
        return _Packed(features, missing, counted.row_count, why)
    told = f"counts of {counted.edges.feature_count} features take {longest} characters, at most {MAX_PACKED_CHARS} fit"
    log.warning("the sketch of a window is sent empty: %s", told)
    return _packed(Histogram.empty(counted.edges), told)


def _pack(counts: NDArray[np.int64]) -> tuple[tuple[int, int], str]:
    rows, bins = counts.shape
    return (rows, bins), base64.b64encode(pack_counts(counts.ravel())).decode()
