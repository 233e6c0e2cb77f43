"""What outputs mean: activations, the best classes with their labels, thresholds, numbers."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shoal_contract.processing import ClassesOutput, NumbersOutput, Output
from shoal_numerics.processing.errors import ProcessingError
from shoal_numerics.processing.outputs import activated, read_output

LABELS = ("cat", "dog", "owl")
SCORES = np.array([[0.1, 0.7, 0.2], [0.4, 0.3, 0.4]], dtype=np.float32)
FINITE = st.floats(-1e4, 1e4, width=32)


def read(meant: Output | None, output: np.ndarray, labels: tuple[str, ...] = LABELS) -> dict[str, Any]:
    return read_output("y", meant, {"y": output}, labels, [], (0, 0))


@given(arrays.arrays(np.float32, (3, 5), elements=FINITE))
def test_softmax_and_sigmoid_are_their_plain_definitions_and_never_overflow(values: np.ndarray) -> None:
    wide = values.astype(np.float64)
    for row, found in zip(wide, activated(values, "softmax"), strict=True):
        plain = [1 / sum(math.exp(min(other - one, 700.0)) for other in row) for one in row]
        np.testing.assert_allclose(found, plain, atol=1e-12)
    for one, share in zip(wide.ravel(), activated(values, "sigmoid").ravel(), strict=True):
        assert share == pytest.approx(1 / (1 + math.exp(min(-one, 700.0))), abs=1e-12)
    np.testing.assert_array_equal(activated(values, "none"), wide)


def test_the_best_class_has_index_label_and_score_and_of_equal_ones_it_is_the_first() -> None:
    found = read(ClassesOutput(), SCORES)
    assert found["y.index"].tolist() == [1, 0]
    assert found["y.label"].tolist() == ["dog", "cat"]
    np.testing.assert_array_equal(found["y.score"], SCORES.max(axis=1))


@given(arrays.arrays(np.float32, (4, 6), elements=FINITE), st.integers(1, 8))
def test_the_best_few_are_those_of_a_plain_sort(scores: np.ndarray, top: int) -> None:
    found = read(ClassesOutput(top=top, threshold=-1e9), scores)
    for row, indices in zip(scores, found["y.indices"], strict=True):
        assert indices.tolist() == sorted(range(6), key=lambda place: (-row[place], place))[:top]


def test_a_threshold_leaves_what_reaches_it() -> None:
    found = read(ClassesOutput(top=3, threshold=0.4), np.array([[0.4, 0.7, 0.39], [0.1, 0.2, 0.3]]))
    assert [one.tolist() for one in found["y.labels"]] == [["dog", "cat"], []]
    assert [one.tolist() for one in found["y.scores"]] == [pytest.approx([0.7, 0.4]), []]


def test_probabilities_are_made_before_the_threshold() -> None:
    logits = np.array([[0.0, 2.0, -2.0]])
    found = read(ClassesOutput(activation="sigmoid", top=3, threshold=0.5), logits)
    assert found["y.labels"][0].tolist() == ["dog", "cat"]
    plain = math.exp(2) / (math.exp(0) + math.exp(2) + math.exp(-2))
    assert read(ClassesOutput(activation="softmax"), logits)["y.score"][0] == pytest.approx(plain)


def test_without_as_many_labels_as_classes_there_are_indices_alone() -> None:
    assert read(ClassesOutput(), SCORES, ("a", "b")).keys() == {"y.index", "y.score"}
    assert read(ClassesOutput(top=2), SCORES, ()).keys() == {"y.indices", "y.scores"}


def test_scores_with_axes_of_one_are_classes_and_a_map_is_none() -> None:
    assert read(ClassesOutput(), SCORES.reshape(2, 3, 1, 1))["y.index"].tolist() == [1, 0]
    with pytest.raises(ProcessingError, match=r"shape \[2, 3, 4\], expected \(batch, classes\)"):
        read(ClassesOutput(), np.zeros((2, 3, 4)))
    with pytest.raises(ProcessingError, match="expected"):
        read(ClassesOutput(), np.zeros(2))


def test_numbers_are_scaled_clipped_and_held_against_a_threshold() -> None:
    meant = NumbersOutput(scale=10.0, offset=5.0, low=0.0, high=20.0, threshold=15.0)
    found = read(meant, np.array([[1.0], [-3.0], [9.0]], dtype=np.float32))
    assert found["y"].tolist() == [15.0, 0.0, 20.0]
    assert found["y"].dtype == np.float32
    assert found["y.reached"].tolist() == [True, False, True]


def test_several_numbers_a_sample_are_a_list() -> None:
    found = read(NumbersOutput(activation="softmax"), np.zeros((2, 4), dtype=np.float32))
    assert [one.tolist() for one in found["y"]] == [[0.25] * 4] * 2


def test_what_nothing_is_declared_of_is_given_as_it_is() -> None:
    assert read(None, np.array([[3], [4]], dtype=np.int64))["y"].tolist() == [3, 4]
    found = read(None, np.arange(12, dtype=np.int8).reshape(2, 2, 3))["y"]
    assert [one.tolist() for one in found] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert found[0].dtype == np.int8
