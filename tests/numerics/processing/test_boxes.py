"""Boxes: suppression by its plain definition, and places in the image that came, whatever became of its size."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.numerics.processing.pictures import pixels

from shoal_contract.processing import BoxesOutput, Resize
from shoal_numerics.processing.boxes import Boxes, find_boxes, overlaps, suppress
from shoal_numerics.processing.errors import ProcessingError
from shoal_numerics.processing.made import Placement
from shoal_numerics.processing.outputs import read_output
from shoal_numerics.processing.resize import resized

WHOLE = Placement(100, 80, 1.0, 1.0, 0, 0)


def find(places: list[list[float]], scores: list[list[float]], placement: Placement = WHOLE, **fields: Any) -> Boxes:
    meant = BoxesOutput.model_validate({"scores": "s", **fields})
    return find_boxes(meant, np.array(places, dtype=np.float64), np.array(scores), placement, (100, 80))


def plain_overlap(one: np.ndarray, other: np.ndarray) -> float:
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    whole = sum(sizes) - across * down
    return across * down / whole if whole > 0 else 0.0


@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.floats(0, 1), st.integers(1, 30))
def test_suppression_is_the_plain_greedy_one(seed: int, count: int, overlap: float, top: int) -> None:
    random = np.random.default_rng(seed)
    corners = np.sort(random.integers(0, 12, (count, 2, 2)), axis=1).reshape(count, 4).astype(np.float64)
    classes = random.integers(0, 2, count)
    kept: list[int] = []
    for place in range(count):
        rivals = [one for one in kept if classes[one] == classes[place]]
        if all(plain_overlap(corners[one], corners[place]) <= overlap for one in rivals) and len(kept) < top:
            kept.append(place)
    assert suppress(corners, classes, overlap, top) == kept


def test_empty_boxes_overlap_nothing() -> None:
    empty = np.zeros((2, 4))
    assert overlaps(empty[0], empty).tolist() == [0.0, 0.0]


def test_each_class_of_a_box_counts_and_the_surest_comes_first() -> None:
    found = find([[0, 0, 10, 10], [50, 50, 60, 60]], [[0.3, 0.9], [0.1, 0.5]])
    assert found.classes.tolist() == [1, 1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert found.corners.tolist() == [[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10]]


def test_middle_and_size_in_shares_of_the_input_become_corners_in_pixels() -> None:
    found = find([[0.5, 0.5, 0.2, 0.25]], [[0.9]], form="cxcywh", unit="ratio")
    np.testing.assert_allclose(found.corners, [[40, 30, 60, 50]], atol=1e-4)


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_a_box_comes_back_to_where_it_is_in_the_image(fit: str) -> None:
    """The box is drawn into the image, and found in the resized one by its colour."""
    image = pixels(320, 200) // 4
    image[60:140, 120:200] = 255
    resize = Resize.model_validate({"width": 100, "height": 80, "fit": fit, "filter": "box"})
    small, placement = resized(Image.fromarray(image), resize, 10**6)
    rows, columns = np.nonzero(np.asarray(small).min(axis=2) > 160)
    place = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    found = find([[float(side) for side in place]], [[0.9]], placement)
    np.testing.assert_allclose(found.corners, [[120, 60, 200, 140]], atol=4)


def test_a_box_ends_at_the_image_s_sides() -> None:
    assert find([[-5, -5, 500, 500]], [[0.9]]).corners.tolist() == [[0, 0, 100, 80]]


def test_nothing_sure_is_nothing_found() -> None:
    found = find([[0, 0, 1, 1]], [[0.1]])
    assert (found.corners.shape, found.classes.shape, found.scores.shape) == ((0, 4), (0,), (0,))


def test_a_model_that_is_sure_of_everything_ends_soon() -> None:
    random = np.random.default_rng(0)
    low = random.uniform(0, 90, (50_000, 2))
    places = np.concatenate([low, low + 1], axis=1)
    found = find(places.tolist(), np.full((50_000, 1), 0.9).tolist(), top=5)
    assert len(found.corners) == 5


def test_columns_of_boxes_carry_labels_and_other_shapes_are_told() -> None:
    outputs = {"b": np.zeros((1, 2, 4), dtype=np.float32), "s": np.full((1, 2, 2), 0.9, dtype=np.float32)}
    found = read_output("b", BoxesOutput(scores="s"), outputs, ("x", "y"), [WHOLE], (100, 80))
    assert sorted(found["b.labels"][0].tolist()) == ["x", "x", "y", "y"]
    assert found.keys() == {"b", "b.indices", "b.scores", "b.labels"}
    with pytest.raises(ProcessingError, match=r"\[1, 2, 4\] and \[1, 3, 2\], expected"):
        read_output("b", BoxesOutput(scores="s"), outputs | {"s": np.zeros((1, 3, 2))}, (), [WHOLE], (100, 80))
