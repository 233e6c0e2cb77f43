"""The laws of combination, against plain numpy."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from shoal_agent.compositions.combine import confidences, vote, weighted_mean

SCORES = st.integers(1, 5).flatmap(
    lambda members: st.tuples(st.integers(1, 6), st.integers(2, 5)).flatmap(
        lambda shape: st.tuples(
            st.lists(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)), min_size=members, max_size=members),
            st.lists(st.floats(0.01, 100), min_size=members, max_size=members),
        )
    )
)
Drawn = tuple[list[NDArray[np.float32]], list[float]]


@given(SCORES)
def test_a_weighted_mean_is_numpys(drawn: Drawn) -> None:
    answers, weights = drawn
    expected = np.average(np.stack(answers).astype(np.float64), axis=0, weights=weights)
    found = weighted_mean(answers, weights)
    assert (found.dtype, found.shape) == (answers[0].dtype, answers[0].shape)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@given(SCORES)
def test_a_mean_lies_between_the_answers_and_probabilities_stay_probabilities(drawn: Drawn) -> None:
    answers, weights = drawn
    found = weighted_mean(answers, weights)
    assert (found >= np.min(answers, axis=0) - 1e-6).all()
    assert (found <= np.max(answers, axis=0) + 1e-6).all()
    normal = [(answer + 1) / (answer + 1).sum(axis=1, keepdims=True) for answer in answers]
    np.testing.assert_allclose(weighted_mean(normal, weights).sum(axis=1), 1, rtol=1e-5)


@given(SCORES)
def test_a_vote_counts_each_member_once_for_its_best_class(drawn: Drawn) -> None:
    answers, weights = drawn
    np.testing.assert_allclose(vote(answers, weights), _counted(answers, weights), rtol=1e-5, atol=1e-7)


@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_of_members_makes_no_difference(drawn: Drawn, random: object) -> None:
    pairs = list(zip(*drawn, strict=True))
    random.shuffle(pairs)  # type: ignore[attr-defined]
    answers, weights = [list(one) for one in zip(*pairs, strict=True)]
    for combine in (weighted_mean, vote):
        np.testing.assert_allclose(combine(answers, weights), combine(*drawn), rtol=1e-5, atol=1e-6)


def test_of_equal_scores_the_first_class_gets_the_vote() -> None:
    tied = np.array([[0.4, 0.4, 0.2]], dtype=np.float32)
    other = np.array([[0.1, 0.2, 0.7]], dtype=np.float32)
    np.testing.assert_allclose(vote([tied, other, other], [1, 1, 1]), [[1 / 3, 0, 2 / 3]], rtol=1e-6)


def test_a_sample_is_as_sure_as_its_best_class() -> None:
    scores = np.array([[0.9, 0.1], [0.5, 0.5], [np.nan, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(confidences(scores), np.array([0.9, 0.5, np.nan], dtype=np.float32))


def _counted(answers: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float64]:
    """What a vote is, sample by sample."""
    shares = np.zeros(answers[0].shape)
    for answer, weight in zip(answers, weights, strict=True):
        for row, scores in enumerate(answer):
            shares[row, int(np.argmax(scores))] += weight
    return shares / sum(weights)
