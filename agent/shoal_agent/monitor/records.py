"""What is kept of each answer beside its label, until its truth comes: a few bytes a sample.

Of a version that chooses between classes: the bins of its scores and of its confidence, and in which slices the sample
lies. Of one that answers a number: that number and the slices. Of any other: nothing, yet its answers are remembered,
since an application may measure them by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from shoal_contract.manifest import Baseline, VersionManifest
from shoal_contract.slices import SliceBaseline
from shoal_numerics import HistogramEdges
from shoal_numerics.label_counts import Beside, LabelLayout
from shoal_numerics.roc import score_bins
from shoal_numerics.slices import in_slice

if TYPE_CHECKING:
    from numpy.typing import NDArray

AnswerKind = Literal["classes", "number", "other"]
"""What a version answers a sample with."""
NO_LABEL: Final = -1
"""Stands where a label would, of a sample that has none."""
_HEAD_BYTES: Final = 4
"""The slices and the bin of the confidence, uint16 each."""
_NUMBER_BYTES: Final = 4


def answer_kind(manifest: VersionManifest) -> AnswerKind:
    """Return what a version answers with by its manifest; with a number, if its first output has one a sample."""
    if manifest.baseline.predictions:
        return "classes"
    output = manifest.outputs[0]
    sizes = output.shape[1:] if manifest.is_batched else output.shape
    is_number = output.datatype in {"FP16", "FP32", "FP64"} and all(size == 1 for size in sizes)
    return "number" if is_number else "other"


@dataclass(frozen=True)
class RecordPlan:
    """How answers of one version are recorded; made once a version.

    Attributes:
        kind: What it answers with.
        layout: Of the counts that labels become.
        confidence: Edges of the baseline's confidence.
        slices: The baseline's.
        columns: (slices,) int64, the feature that decides of each.
        is_kept: Whether answers are remembered at all; else nothing is recorded.
    """

    kind: AnswerKind
    layout: LabelLayout
    confidence: HistogramEdges
    slices: tuple[SliceBaseline, ...]
    columns: NDArray[np.int64]
    is_kept: bool = True

    @classmethod
    def of(
        cls, kind: AnswerKind, baseline: Baseline, confidence: HistogramEdges, *, is_kept: bool = True
    ) -> RecordPlan:
        """Return the plan of a version whose edges have been read."""
        slices = baseline.slices or ()
        columns = np.array([one.feature for one in slices], dtype=np.int64)
        return cls(kind, LabelLayout.of(baseline), confidence, slices, columns, is_kept)

    @property
    def scored(self) -> int:
        """How many classes have the bin of their score kept."""
        return len(self.layout.scored)

    @property
    def record_bytes(self) -> int:
        """Of one sample."""
        return _HEAD_BYTES + (_NUMBER_BYTES if self.kind == "number" else self.scored)

    def decisive(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values that decide of slices, (n, slices) float32, of (n, features)."""
        return rows[:, self.columns]

    def records(
        self, scores: NDArray[np.float32], labels: NDArray[np.int32], decisive: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Return a record for each sample.

        Args:
            scores: (n, classes) float32; of a number, (n, 1).
            labels: (n,) int32, where the label's score is.
            decisive: (n, slices) float32.

        Returns:
            (n, record_bytes) uint8; without columns where no answer is remembered.
        """
        if not self.is_kept:
            return np.empty((len(scores), 0), dtype=np.uint8)
        found = np.zeros((len(scores), self.record_bytes), dtype=np.uint8)
        if self.slices:
            found[:, :2] = self._slice_bits(decisive).view(np.uint8).reshape(-1, 2)
        if self.kind == "number":
            found[:, _HEAD_BYTES:] = np.ascontiguousarray(scores[:, :1]).view(np.uint8)
            return found
        chosen = scores[np.arange(len(scores)), labels]
        bins = np.searchsorted(self.confidence.of_feature(0), chosen, side="right").astype(np.uint16)
        found[:, 2:_HEAD_BYTES] = bins.view(np.uint8).reshape(-1, 2)
        scored = self.layout.scored
        if scored and scores.shape[1] >= scored.stop:
            found[:, _HEAD_BYTES:] = score_bins(scores[:, scored.start : scored.stop])
        return found

    def _slice_bits(self, decisive: NDArray[np.float32]) -> NDArray[np.uint16]:
        bits = np.zeros(len(decisive), dtype=np.uint16)
        for place, one in enumerate(self.slices):
            within = in_slice(decisive[:, place], one.low, one.high, one.equals)
            bits |= within.astype(np.uint16) << np.uint16(place)
        return bits

    def read(self, records: bytes, predicted: NDArray[np.int32]) -> Beside:
        """Return what records of samples say that were answered with labels.

        Args:
            records: `record_bytes` for each sample.
            predicted: (n,) int32 labels.
        """
        rows = np.frombuffer(records, dtype=np.uint8).reshape(len(predicted), self.record_bytes)
        heads = np.ascontiguousarray(rows[:, :_HEAD_BYTES]).view(np.uint16).astype(np.int64)
        return Beside(predicted.astype(np.int64), rows[:, _HEAD_BYTES:], heads[:, 1], heads[:, 0])

    def read_numbers(self, records: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the numbers that were answered, (n,) float64, and in which slices the samples lie, (n,) int64 bits."""
        rows = np.frombuffer(records, dtype=np.uint8).reshape(-1, self.record_bytes)
        numbers = np.ascontiguousarray(rows[:, _HEAD_BYTES:]).view(np.float32)[:, 0]
        bits = np.ascontiguousarray(rows[:, :2]).view(np.uint16)[:, 0]
        return numbers.astype(np.float64), bits.astype(np.int64)
