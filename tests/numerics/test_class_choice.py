"""Which class answers choose, and that two models are cut at one place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics.class_choice import chosen_classes, score_cut


@pytest.mark.parametrize(
    ("scores", "cut", "classes"),
    [([0.1, 0.4, 0.6, 0.9], 0.5, [0, 0, 1, 1]), ([-0.1, 0.4, 0.6, 2.0], 0.0, [0, 1, 1, 1])],
)
def test_single_scores_are_cut_as_probabilities_or_as_logits(
    scores: list[float], cut: float, classes: list[int]
) -> None:
    for column in (np.array(scores), np.array(scores).reshape(-1, 1)):
        assert score_cut(column) == cut
        assert chosen_classes(column).tolist() == classes


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=20), st.data())
def test_a_score_that_changes_changes_no_other_row(scores: list[float], data: st.DataObject) -> None:
    first = np.array(scores).reshape(-1, 1)
    second = first.copy()
    row = data.draw(st.integers(0, len(scores) - 1))
    second[row] = data.draw(st.floats(-2, 2))
    cut = score_cut(first)
    differing = np.flatnonzero(chosen_classes(first) != chosen_classes(second, cut))
    assert set(differing.tolist()) <= {row}


def test_of_several_scores_the_largest_is_chosen_whatever_the_cut() -> None:
    assert chosen_classes(np.array([[0.2, 0.8], [3.0, -1.0]]), 0.5).tolist() == [1, 0]
