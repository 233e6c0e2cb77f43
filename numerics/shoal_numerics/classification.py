"""Accuracy, precision, recall and F1 from counts of each class, as scikit-learn computes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from shoal_numerics.errors import PerformanceError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Average = Literal["binary", "macro", "micro", "weighted"]
"""How precision, recall and F1 of classes become one number: of class 1 alone; their mean, whatever the classes' size;
of all samples together, which is the accuracy; their mean, by how many samples each class truly has."""
_BINARY = 2


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Counts of each class; they merge by adding number to number.

    Attributes:
        true_positives: (classes,) int64, samples of a class that were taken for it.
        false_positives: (classes,) int64, samples of others that were taken for it.
        false_negatives: (classes,) int64, samples of it that were taken for others.
    """

    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]

    @classmethod
    def of_confusion(cls, confusion: NDArray[np.int64]) -> ClassCounts:
        """Return the counts of a (classes, classes) int64 matrix, a row for each true class."""
        right = np.diagonal(confusion).astype(np.int64)
        return cls(right, confusion.sum(axis=0) - right, confusion.sum(axis=1) - right)

    @classmethod
    def of_labels(cls, truth: ArrayLike, predicted: ArrayLike, classes: int) -> ClassCounts:
        """Return the counts of some answers.

        Args:
            truth: (n,) true classes, 0 to classes - 1.
            predicted: (n,) classes that were answered; one that is none of them is a false negative alone.
            classes: How many there are.

        Raises:
            PerformanceError: They are not as many, or a true class is none.
        """
        true, found = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
        if true.shape != found.shape or true.ndim != 1 or ((true < 0) | (true >= classes)).any():
            message = f"Counting {found.shape} answers of {true.shape} truths: expected as many, each below {classes}."
            raise PerformanceError(message)
        is_right = true == found
        is_known = (found >= 0) & (found < classes)
        right, taken, real = (
            np.bincount(each, minlength=classes).astype(np.int64) for each in (true[is_right], found[is_known], true)
        )
        return cls(right, taken - right, real - right)

    def __add__(self, other: ClassCounts) -> ClassCounts:
        """Return the counts of both; the classes that only one of them has count as they are."""
        most = max(len(self.true_positives), len(other.true_positives))
        return ClassCounts(
            _padded(self.true_positives, most) + _padded(other.true_positives, most),
            _padded(self.false_positives, most) + _padded(other.false_positives, most),
            _padded(self.false_negatives, most) + _padded(other.false_negatives, most),
        )

    @property
    def support(self) -> NDArray[np.int64]:
        """Samples that are truly of each class, (classes,) int64."""
        return self.true_positives + self.false_negatives

    @property
    def labelled(self) -> int:
        """Samples whose class is known."""
        return int(self.support.sum())


@dataclass(frozen=True)
class ClassMetrics:
    """What counts come to; each number is 0 to 1, and None where there is nothing to make it of.

    Attributes:
        labelled: Samples whose class is known.
        accuracy: Share of them that were right.
        precision: Of what was taken for a class, the share that is of it.
        recall: Of what is of a class, the share that was taken for it.
        f1: Harmonic mean of the two; of several classes, the mean of theirs.
        average: How classes were put together.
    """

    labelled: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    average: Average


def default_average(classes: int) -> Average:
    """Return how classes are put together where nobody says: of two, class 1 is the positive one; else macro."""
    return "binary" if classes == _BINARY else "macro"


def class_metrics(counts: ClassCounts, average: Average | None = None) -> ClassMetrics:
    """Return what counts come to.

    As scikit-learn's `precision_recall_fscore_support(zero_division=0)`: classes that were neither true nor answered
    are left out, and a share of nothing counts as 0 in a mean. Of one class (`binary`) it is None instead.

    Args:
        counts: Of each class.
        average: How they are put together; None: `default_average`.

    Raises:
        PerformanceError: `binary` of other than two classes.
    """
    classes = len(counts.true_positives)
    average = average or default_average(classes)
    labelled, right = counts.labelled, int(counts.true_positives.sum())
    if average == "binary" and classes != _BINARY:
        message = f"Computing binary metrics: found {classes} classes, expected two. Take macro, micro or weighted."
        raise PerformanceError(message)
    if not labelled:
        return ClassMetrics(0, None, None, None, None, average)
    if average == "binary":
        precision, recall, f1 = (float(one[1]) for one in per_class(counts))
        return ClassMetrics(labelled, right / labelled, _known(precision), _known(recall), _known(f1), average)
    if average == "micro":
        taken = right + int(counts.false_positives.sum())
        parts = (right / taken if taken else 0.0, right / labelled, 2 * right / (taken + labelled))
        return ClassMetrics(labelled, right / labelled, *parts, average)
    is_there = counts.support + counts.false_positives > 0
    weights = np.where(is_there, counts.support if average == "weighted" else 1, 0).astype(np.float64)
    precision, recall, f1 = (float(np.nan_to_num(one) @ weights / weights.sum()) for one in per_class(counts))
    return ClassMetrics(labelled, right / labelled, precision, recall, f1, average)


def per_class(counts: ClassCounts) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return precision, recall and F1 of each class, (classes,) float64 each; NaN where it is a share of nothing."""
    right = counts.true_positives.astype(np.float64)
    taken, real = right + counts.false_positives, right + counts.false_negatives
    return _shares(right, taken), _shares(right, real), _shares(2 * right, taken + real)


def _shares(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _padded(counts: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.concatenate([counts, np.zeros(classes - len(counts), dtype=np.int64)])
