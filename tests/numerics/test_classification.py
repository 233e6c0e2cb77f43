"""Metrics of counted classes are those that scikit-learn computes from the labels, and counts merge exactly."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from shoal_numerics import NumericsError
from shoal_numerics.classification import Average, ClassCounts, class_metrics, default_average, per_class

Labels = tuple[int, NDArray[Any], NDArray[Any]]


@st.composite
def answered(draw: st.DrawFn, least: int = 2) -> Labels:
    classes = draw(st.integers(least, 6))
    label = st.integers(0, classes - 1)
    pairs = draw(st.lists(st.tuples(label, label), min_size=1, max_size=60))
    truth, predicted = np.array(pairs).T
    return classes, truth, predicted


def same(first: ClassCounts, second: ClassCounts) -> bool:
    return all(np.array_equal(vars(first)[name], vars(second)[name]) for name in vars(first))


@given(answered(), st.sampled_from(["macro", "micro", "weighted"]))
def test_metrics_of_several_classes_are_those_of_scikit_learn(labels: Labels, average: Average) -> None:
    classes, truth, predicted = labels
    found = class_metrics(ClassCounts.of_labels(truth, predicted, classes), average)
    expected = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected[:3])
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert (found.labelled, found.average) == (len(truth), average)


@given(answered())
def test_metrics_of_two_classes_are_those_of_the_second_unless_another_average_is_asked(labels: Labels) -> None:
    _, truth, predicted = labels[0], labels[1] % 2, labels[2] % 2
    found = class_metrics(ClassCounts.of_labels(truth, predicted, 2))
    expected = precision_recall_fscore_support(truth, predicted, average="binary", zero_division=np.nan)[:3]
    assert found.average == "binary"
    for mine, theirs in zip((found.precision, found.recall, found.f1), expected, strict=True):
        assert (mine is None and np.isnan(theirs)) or mine == pytest.approx(theirs)


def test_of_more_classes_the_default_is_macro() -> None:
    assert [default_average(classes) for classes in (1, 2, 3, 1000)] == ["macro", "binary", "macro", "macro"]


@given(answered())
def test_counts_of_a_confusion_matrix_are_those_of_the_labels(labels: Labels) -> None:
    classes, truth, predicted = labels
    matrix = confusion_matrix(truth, predicted, labels=range(classes))
    assert same(ClassCounts.of_confusion(matrix), ClassCounts.of_labels(truth, predicted, classes))


@given(answered(), answered(), answered())
def test_counts_merge_exactly_in_any_order_and_as_if_they_had_come_together(a: Labels, b: Labels, c: Labels) -> None:
    first, second, third = (ClassCounts.of_labels(truth, predicted, classes) for classes, truth, predicted in (a, b, c))
    classes = max(a[0], b[0], c[0])
    truth, predicted = np.concatenate([a[1], b[1], c[1]]), np.concatenate([a[2], b[2], c[2]])
    whole = ClassCounts.of_labels(truth, predicted, classes)
    assert same(first + second + third, whole)
    assert same(third + (second + first), whole)


def test_each_class_has_its_own_numbers_and_a_share_of_nothing_is_unknown() -> None:
    precision, recall, f1 = per_class(ClassCounts.of_labels([0, 0, 1], [0, 1, 0], 3))
    np.testing.assert_allclose(precision, [0.5, 0.0, np.nan])
    np.testing.assert_allclose(recall, [0.5, 0.0, np.nan])
    np.testing.assert_allclose(f1, [0.5, 0.0, np.nan])


def test_no_labels_come_to_nothing() -> None:
    found = class_metrics(ClassCounts.of_labels([], [], 3))
    assert (found.labelled, found.accuracy, found.precision, found.recall, found.f1) == (0, None, None, None, None)


def test_what_is_no_label_is_refused() -> None:
    with pytest.raises(NumericsError, match="below 2"):
        ClassCounts.of_labels([0, 2], [0, 0], 2)
    with pytest.raises(NumericsError, match="as many"):
        ClassCounts.of_labels([0, 1], [0], 2)
    with pytest.raises(NumericsError, match="expected two"):
        class_metrics(ClassCounts.of_labels([0], [0], 3), "binary")
