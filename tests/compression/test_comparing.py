"""Figures of two models: single scores of both are cut at one place."""

import numpy as np

from shoal_compression.comparing import accuracy, agreement, slice_accuracies

LOGITS = np.array([[0.1], [0.4], [0.6], [0.9]])
"""All in 0..1, as if they were probabilities."""
CHANGED = LOGITS - np.array([[0.2], [0.0], [0.0], [0.0]])


def test_one_of_four_scores_that_moves_a_little_moves_no_other_answer() -> None:
    assert agreement(LOGITS, CHANGED) == 1.0
    labels = np.array([0, 0, 1, 1])
    assert accuracy(CHANGED, labels, LOGITS) == 1.0
    assert slice_accuracies(CHANGED, labels, {"all": np.ones(4, int)}, LOGITS) == {"all=1": 1.0}
