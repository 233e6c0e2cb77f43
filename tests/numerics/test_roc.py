"""The area from binned scores is scikit-learn's within the error that it names, and exact where bins tell all apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from shoal_numerics import NumericsError
from shoal_numerics.roc import SCORE_BINS, RocArea, mean_area, roc_area, score_bins, score_edges

SCORES = st.one_of(
    st.floats(0, 1, width=32),
    st.floats(-18, 18).map(lambda logit: 1 / (1 + np.exp(-logit))),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
SAMPLES = st.lists(st.tuples(SCORES, st.booleans()), min_size=2, max_size=80).filter(
    lambda rows: 0 < sum(label for _, label in rows) < len(rows)
)


def area_of(scores: np.ndarray, truth: np.ndarray) -> RocArea:
    bins = score_bins(scores)
    counted = [np.bincount(bins[truth == label], minlength=SCORE_BINS) for label in (False, True)]
    found = roc_area(*counted)
    assert found is not None
    return found


def test_edges_are_increasing_and_lie_between_0_and_1() -> None:
    edges = score_edges()
    assert edges.shape == (SCORE_BINS - 1,)
    assert (np.diff(edges) > 0).all()
    assert edges[0] > 0
    assert edges[-1] <= 1
    assert set(np.arange(1, 64, dtype=np.float32) / 64) <= set(edges.tolist())


@given(SAMPLES)
def test_the_area_is_within_its_error_of_the_area_of_the_scores(rows: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([score for score, _ in rows], dtype=np.float32), np.array([label for _, label in rows])
    found = area_of(scores, truth)
    # What is a tie among the scores as well makes no error; the bound does not know that, and may be too large.
    assert abs(found.area - roc_auc_score(truth, scores)) <= found.error + 1e-12
    assert (found.positives, found.negatives) == (truth.sum(), (~truth).sum())


@given(st.lists(st.tuples(st.integers(0, SCORE_BINS - 2), st.booleans()), min_size=2, max_size=80))
def test_the_area_of_scores_that_bins_tell_apart_is_exact_with_ties(rows: list[tuple[int, bool]]) -> None:
    truth = np.array([label for _, label in rows])
    if truth.all() or not truth.any():
        return
    scores = score_edges()[[place for place, _ in rows]]
    assert area_of(scores, truth).area == pytest.approx(roc_auc_score(truth, scores))


def test_a_sure_model_s_error_is_small() -> None:
    draw = np.random.default_rng(3)
    truth = draw.random(20_000) < 0.1
    logits = draw.normal(np.where(truth, 3.0, -4.0), 2.5)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    found = area_of(scores, truth)
    assert found.error < 0.005
    assert found.area == pytest.approx(roc_auc_score(truth, scores), abs=0.0005)


def test_there_is_no_area_without_both_and_none_of_other_bins() -> None:
    some, none = np.ones(SCORE_BINS, dtype=np.int64), np.zeros(SCORE_BINS, dtype=np.int64)
    assert roc_area(some, none) is None
    assert roc_area(none, some) is None
    with pytest.raises(NumericsError, match="as many"):
        roc_area(some, some[1:])


def test_the_mean_over_classes_is_scikit_learn_s_of_one_against_the_rest() -> None:
    draw = np.random.default_rng(5)
    truth = draw.integers(0, 4, 3000)
    logits = draw.normal(size=(3000, 4)) + 1.5 * np.eye(4)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    areas = [area_of(scores[:, label], truth == label) for label in range(4)]
    found = mean_area(areas)
    assert found is not None
    expected = roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert abs(found.area - expected) <= found.error
    assert found.error < 0.02
    assert mean_area([]) is None
