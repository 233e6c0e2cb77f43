"""The vector of label counts holds what the labels say, in parts that do not overlap, and merges by addition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from shoal_contract.performance import MAX_CONFUSED_CLASSES, MAX_LABEL_COUNTS_CHARS, MAX_SCORED_CLASSES
from shoal_numerics import pack_counts
from shoal_numerics.label_counts import Beside, LabelCounts, LabelLayout
from shoal_numerics.roc import SCORE_BINS

LAYOUTS = [LabelLayout(classes, 20, slices) for classes in (0, 2, 3, 16, 17, 64, 65, 1024) for slices in (0, 1, 16)]


def counted(layout: LabelLayout, samples: int, seed: int) -> tuple[LabelCounts, dict[str, Any]]:
    """Return counts of random answers, and the answers."""
    draw = np.random.default_rng(seed)
    truth, predicted = draw.integers(0, layout.classes, (2, samples))
    beside = Beside(
        predicted,
        draw.integers(0, SCORE_BINS, (samples, len(layout.scored))).astype(np.uint8),
        draw.integers(0, layout.confidence_bins, samples),
        draw.integers(0, 1 << layout.slices, samples),
    )
    found = LabelCounts(layout)
    found.add_labels(truth, predicted)
    found.add_beside(truth, is_right=truth == predicted, beside=beside)
    return found, {"truth": truth, "predicted": predicted, "beside": beside}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_parts_cover_the_vector_once(layout: LabelLayout) -> None:
    parts = LabelCounts(layout, np.zeros(layout.size, dtype=np.int64))
    slices = range(layout.slices if layout.classes else 0)
    every = [parts.matrix, parts.scores, parts.confidence]
    every += [part for k in slices for part in (parts.slice_totals(k), parts.slice_kinds(k), parts.slice_scores(k))]
    for part in every:
        np.add(part, 1, out=part)
    assert (parts.vector == 1).all()
    assert sum(part.size for part in every) == layout.size


@given(st.sampled_from([layout for layout in LAYOUTS if layout.classes]), st.integers(1, 50), st.integers(0, 10**6))
def test_counts_are_those_of_the_answers(layout: LabelLayout, samples: int, seed: int) -> None:
    found, given_ = counted(layout, samples, seed)
    truth, predicted, beside = given_["truth"], given_["predicted"], given_["beside"]
    classes = found.class_counts()
    right = truth == predicted
    assert (classes.labelled, classes.true_positives.sum()) == (samples, right.sum())
    if layout.classes <= MAX_CONFUSED_CLASSES:
        assert np.array_equal(found.matrix, confusion_matrix(truth, predicted, labels=range(layout.classes)))
    assert (found.confidence[0].sum(), found.confidence[1].sum()) == (samples, right.sum())
    for place, label in enumerate(layout.scored):
        assert found.scores[place, 1].sum() == (truth == label).sum()
        of_it = beside.score_bins[truth == label, place]
        assert np.array_equal(found.scores[place, 1], np.bincount(of_it, minlength=SCORE_BINS))
    for place in range(layout.slices):
        within = (beside.slice_bits >> place & 1).astype(bool)
        assert found.slice_totals(place).tolist() == [within.sum(), (right & within).sum()]
        if layout.slice_classes:
            assert found.slice_kinds(place)[0].sum() == (right & within).sum()
        if layout.classes == 2:
            assert found.slice_scores(place)[0, 1].sum() == (within & (truth == 1)).sum()


@given(st.sampled_from([layout for layout in LAYOUTS if layout.classes]), st.integers(0, 10**6))
def test_vectors_merge_exactly(layout: LabelLayout, seed: int) -> None:
    both = [counted(layout, 20, seed + each) for each in (0, 1)]
    whole = LabelCounts(layout)
    for _, given_ in reversed(both):
        truth, predicted = given_["truth"], given_["predicted"]
        whole.add_labels(truth, predicted)
        whole.add_beside(truth, is_right=truth == predicted, beside=given_["beside"])
    assert np.array_equal(both[0][0].vector + both[1][0].vector, whole.vector)


def test_a_label_that_the_baseline_does_not_know_was_answered_to_no_column() -> None:
    found = LabelCounts(LabelLayout(3, 5, 0))
    found.add_labels(np.array([0, 1]), np.array([0, 7]))
    assert found.matrix.sum() == 1


def test_scores_are_counted_of_the_positive_class_or_of_each_of_a_few() -> None:
    assert list(LabelLayout(2, 5, 0).scored) == [1]
    assert list(LabelLayout(MAX_SCORED_CLASSES, 5, 0).scored) == list(range(MAX_SCORED_CLASSES))
    assert list(LabelLayout(MAX_SCORED_CLASSES + 1, 5, 0).scored) == []


@pytest.mark.parametrize(("classes", "slices", "most"), [(2, 0, 400), (3, 0, 700), (10, 0, 2500), (10, 16, 3500)])
def test_a_window_of_200_labels_packs_into_few_bytes(classes: int, slices: int, most: int) -> None:
    layout = LabelLayout(classes, 20, slices)
    assert len(pack_counts(counted(layout, 200, 1)[0].vector)) < most


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_counts_of_a_full_window_fit_into_a_message(layout: LabelLayout) -> None:
    if layout.classes:
        assert 4 * len(pack_counts(counted(layout, 20_000, 1)[0].vector)) / 3 < MAX_LABEL_COUNTS_CHARS
