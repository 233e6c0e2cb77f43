"""Counts of the labels that came back, as one vector of whole numbers whose layout the baseline alone decides. Pure.

Two vectors of one layout merge by adding number to number: exact, commutative and associative. A device fills one,
`packing` makes it short (nearly all of it is zeros), and the hub reads it by the same layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_contract.performance import MAX_CONFUSED_CLASSES, MAX_SCORED_CLASSES
from shoal_numerics.classification import ClassCounts
from shoal_numerics.roc import SCORE_BINS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shoal_contract.manifest import Baseline

_BINARY: Final = 2
_KINDS: Final = 3
"""True positives, false positives, false negatives."""


@dataclass(frozen=True)
class LabelLayout:
    """Where each number stands.

    In order: the confusion matrix, a row for each true class, up to `MAX_CONFUSED_CLASSES` classes, or else the true
    positives, false positives and false negatives of each class; the scores of each scored class, negatives and then
    positives; the confidence of all labelled answers and of those that were right; and of each slice: labelled and
    right samples, up to `MAX_CONFUSED_CLASSES` classes the three counts of each class, and of two classes the scores.

    Attributes:
        classes: Labels that the version chooses between.
        confidence_bins: Of the baseline's confidence.
        slices: Of the baseline.
    """

    classes: int
    confidence_bins: int
    slices: int

    @classmethod
    def of(cls, baseline: Baseline) -> LabelLayout:
        """Return the layout of a version's counts."""
        return cls(len(baseline.predictions), len(baseline.confidence.counts), len(baseline.slices or ()))

    @property
    def has_confusion(self) -> bool:
        """Whether pairs of classes are counted."""
        return self.classes <= MAX_CONFUSED_CLASSES

    @property
    def scored(self) -> range:
        """The classes whose scores are counted: of two, the second, which is the positive one; of too many, none."""
        if self.classes == _BINARY:
            return range(1, _BINARY)
        return range(self.classes if self.classes <= MAX_SCORED_CLASSES else 0)

    @property
    def slice_scored(self) -> int:
        """How many classes have their scores counted in each slice."""
        return 1 if self.classes == _BINARY else 0

    @property
    def slice_classes(self) -> int:
        """How many classes are counted in each slice."""
        return self.classes if self.has_confusion else 0

    @cached_property
    def ends(self) -> tuple[int, int, int, int]:
        """Return where matrix, scores, confidence and slices end."""
        matrix = self.classes * (self.classes if self.has_confusion else _KINDS)
        scores = matrix + len(self.scored) * 2 * SCORE_BINS
        confidence = scores + (2 * self.confidence_bins if self.classes else 0)
        return matrix, scores, confidence, confidence + self.slices * self.slice_size

    @property
    def slice_size(self) -> int:
        """How many numbers each slice has."""
        return (2 + _KINDS * self.slice_classes + self.slice_scored * 2 * SCORE_BINS) if self.classes else 0

    @property
    def size(self) -> int:
        """How many numbers there are; 0 of a version that chooses between no classes."""
        return self.ends[-1]


class LabelCounts:
    """Parts of one vector; they are views, so that adding to a part adds to the vector.

    Args:
        layout: Where the parts are.
        vector: (layout.size,) int64; None: nothing is counted yet.
    """

    def __init__(self, layout: LabelLayout, vector: NDArray[np.int64] | None = None) -> None:
        self.layout = layout
        self.vector = np.zeros(layout.size, dtype=np.int64) if vector is None else vector
        matrix, scores, confidence, _ = layout.ends
        rows = layout.classes if layout.has_confusion else _KINDS
        self.matrix = self.vector[:matrix].reshape(rows, layout.classes)
        """(classes, classes) confusion, or (3, classes) true positives, false positives and false negatives."""
        self.scores = self.vector[matrix:scores].reshape(len(layout.scored), 2, SCORE_BINS)
        """(scored classes, 2, bins): negatives and positives."""
        self.confidence = self.vector[scores:confidence].reshape(2, layout.confidence_bins if layout.classes else 0)
        """(2, bins): all labelled answers, and those that were right."""
        self._slices = self.vector[confidence:].reshape(layout.slices, layout.slice_size)

    def slice_totals(self, place: int) -> NDArray[np.int64]:
        """Return how many samples of a slice are labelled and how many of them right, (2,) int64."""
        return self._slices[place, :2]

    def slice_kinds(self, place: int) -> NDArray[np.int64]:
        """Return the three counts of each class of a slice, (3, classes) int64; of too many, without columns."""
        return self._slices[place, 2 : 2 + _KINDS * self.layout.slice_classes].reshape(
            _KINDS, self.layout.slice_classes
        )

    def slice_scores(self, place: int) -> NDArray[np.int64]:
        """Return the scores of a slice, (1, 2, bins) int64 of two classes, else without rows."""
        start = 2 + _KINDS * self.layout.slice_classes
        return self._slices[place, start:].reshape(self.layout.slice_scored, 2, SCORE_BINS)

    def class_counts(self) -> ClassCounts:
        """Return the counts of each class."""
        if self.layout.has_confusion:
            return ClassCounts.of_confusion(self.matrix)
        return ClassCounts(*self.matrix)

    def add_labels(self, truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
        """Count true classes against those that were answered.

        Args:
            truth: (n,) int64, 0 to classes - 1.
            predicted: (n,) int64; classes that the baseline does not know are no column, and their samples not counted.
        """
        is_known = (predicted >= 0) & (predicted < self.layout.classes)
        truth, predicted = truth[is_known], predicted[is_known]
        if self.layout.has_confusion:
            np.add.at(self.matrix, (truth, predicted), 1)
        else:
            _add_kinds(self.matrix, truth, predicted)

    def add_beside(self, truth: NDArray[np.int64], *, is_right: NDArray[np.bool_], beside: Beside) -> None:
        """Count what was kept of answers beside their labels.

        Args:
            truth: (n,) int64.
            is_right: (n,) bool, whether the label was right.
            beside: Of the same samples.
        """
        for place, label in enumerate(self.layout.scored):
            np.add.at(self.scores[place], ((truth == label).astype(np.int64), beside.score_bins[:, place]), 1)
        np.add.at(self.confidence[0], beside.confidence_bins, 1)
        np.add.at(self.confidence[1], beside.confidence_bins[is_right], 1)
        for place in range(self.layout.slices):
            within = (beside.slice_bits >> place & 1).astype(bool)
            if within.any():
                self._add_slice(place, truth[within], is_right[within], beside.within(within))

    def _add_slice(self, place: int, truth: NDArray[np.int64], is_right: NDArray[np.bool_], beside: Beside) -> None:
        totals = self.slice_totals(place)
        totals += np.array([len(truth), np.count_nonzero(is_right)])
        if self.layout.slice_classes:
            _add_kinds(self.slice_kinds(place), truth, beside.predicted)
        if self.layout.slice_scored:
            np.add.at(self.slice_scores(place)[0], ((truth == 1).astype(np.int64), beside.score_bins[:, 0]), 1)


@dataclass(frozen=True, eq=False)
class Beside:
    """What is kept of answers beside their labels, until the truth comes.

    Attributes:
        predicted: (n,) int64 labels that were answered.
        score_bins: (n, scored classes) uint8, see `roc.score_bins`.
        confidence_bins: (n,) int64, of the baseline's confidence.
        slice_bits: (n,) int64, bit k: the sample lies in slice k.
    """

    predicted: NDArray[np.int64]
    score_bins: NDArray[np.uint8]
    confidence_bins: NDArray[np.int64]
    slice_bits: NDArray[np.int64]

    def within(self, chosen: NDArray[np.bool_]) -> Beside:
        """Return what is kept of some of the samples."""
        return Beside(
            self.predicted[chosen], self.score_bins[chosen], self.confidence_bins[chosen], self.slice_bits[chosen]
        )


def _add_kinds(kinds: NDArray[np.int64], truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
    counts = ClassCounts.of_labels(truth, predicted, kinds.shape[1])
    kinds[0] += counts.true_positives
    kinds[1] += counts.false_positives
    kinds[2] += counts.false_negatives
