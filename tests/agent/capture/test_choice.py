"""Which samples of a request are picked: by chance, confidence, class, and how far they are from the baseline."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shoal_agent.capture.choice import Range, pick
from shoal_agent.capture.rules import CaptureRule

WITHIN = Range(np.array([0.0, -1.0], dtype=np.float32), np.array([1.0, 1.0], dtype=np.float32))
ROWS = np.array([[0.5, 0.0], [2.0, 0.0], [2.0, -3.0], [np.nan, 0.5]], dtype=np.float32)
SCORES = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]], dtype=np.float32)
NONE = np.empty((0, 1), dtype=np.float32)


def _never() -> float:
    raise AssertionError("no share is asked for")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"confidence_below": 0.7}, {1: ("low_confidence",)}),
        ({"classes": (1,)}, {1: ("class",), 2: ("class",)}),
        ({"features_outside": 1}, {1: ("outside_baseline",), 2: ("outside_baseline",)}),
        ({"features_outside": 2}, {2: ("outside_baseline",)}),
        ({"classes": (1,), "features_outside": 2}, {1: ("class",), 2: ("class", "outside_baseline")}),
        ({"disagreement": True}, {}),
    ],
)
def test_a_rule_picks_what_it_names_with_every_reason(
    rule: dict[str, object], expected: dict[int, tuple[str, ...]]
) -> None:
    assert pick(CaptureRule.model_validate(rule), ROWS, SCORES, WITHIN, _never) == expected


def test_a_share_is_picked_sample_by_sample() -> None:
    chances = iter([0.1, 0.3, 0.0, 0.2])
    assert pick(CaptureRule(share=0.2), ROWS, SCORES, WITHIN, lambda: next(chances)) == {0: ("random",), 2: ("random",)}


def test_a_model_that_chooses_no_label_has_neither_classes_nor_confidence() -> None:
    rule = CaptureRule(confidence_below=1.0, classes=(0,), features_outside=2)
    assert pick(rule, ROWS, NONE, WITHIN, _never) == {2: ("outside_baseline",)}


@given(
    arrays.arrays(np.float32, (6, 2), elements=st.floats(width=32)),
    arrays.arrays(np.float32, (6, 3), elements=st.floats(0, 1, width=32)),
    st.floats(0.01, 1),
)
def test_what_is_picked_is_in_order_and_of_this_request_whatever_the_numbers(
    rows: np.ndarray, scores: np.ndarray, share: float
) -> None:
    rule = CaptureRule(share=share, confidence_below=0.5, classes=(1,), features_outside=1)
    picked = pick(rule, rows, scores, WITHIN, lambda: 0.5)
    assert list(picked) == sorted(set(picked) & set(range(6)))
    assert all(picked.values())
