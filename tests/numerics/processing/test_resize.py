"""How images come to the model's size: the geometry by plain definitions, the pixels as Pillow makes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.numerics.processing.pictures import pixels

from shoal_contract.processing import Resize
from shoal_numerics.processing.errors import SampleError
from shoal_numerics.processing.resize import plan, resized

SIDES = st.integers(1, 3000)
TARGETS = st.integers(1, 512)


def image_of(width: int, height: int) -> Image.Image:
    return Image.fromarray(pixels(width, height))


def as_array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


@given(SIDES, SIDES, TARGETS, TARGETS)
def test_a_letterbox_holds_all_of_the_image_in_its_middle(width: int, height: int, across: int, down: int) -> None:
    found = plan(width, height, Resize(width=across, height=down, fit="letterbox"))
    assert 1 <= found.width <= across
    assert 1 <= found.height <= down
    assert found.width == across or found.height == down
    assert 0 <= across - found.width - 2 * found.left <= 1
    assert 0 <= down - found.height - 2 * found.top <= 1


@given(SIDES, SIDES, TARGETS, TARGETS)
def test_a_crop_is_covered_by_the_image(width: int, height: int, across: int, down: int) -> None:
    found = plan(width, height, Resize(width=across, height=down, fit="crop"))
    assert -found.left >= 0
    assert -found.top >= 0
    assert found.width + found.left >= across
    assert found.height + found.top >= down
    assert found.width == across or found.height == down


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (333, 500), (256, 256), (97, 301)])
def test_a_shorter_side_and_a_crop_are_torchvision_s_resize_and_center_crop(size: tuple[int, int]) -> None:
    image, side, crop = image_of(*size), 64, 56
    width, height = size
    scaled_size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    scaled = image.resize(scaled_size, Image.Resampling.BILINEAR)
    top, left = round((scaled_size[1] - crop) / 2.0), round((scaled_size[0] - crop) / 2.0)
    expected = scaled.crop((left, top, left + crop, top + crop))
    found, _ = resized(image, Resize(width=crop, height=crop, fit="crop", shorter_side=side), 10**6)
    np.testing.assert_array_equal(as_array(found), as_array(expected))


@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_each_filter_is_pillow_s(name: str) -> None:
    image = image_of(40, 30)
    found, placement = resized(image, Resize.model_validate({"width": 17, "height": 23, "filter": name}), 10**6)
    expected = image.resize((17, 23), Image.Resampling[name.upper()])
    np.testing.assert_array_equal(as_array(found), as_array(expected))
    assert (placement.scale_x, placement.scale_y) == (17 / 40, 23 / 30)


def test_a_letterbox_fills_the_rest_and_says_where_the_image_lies() -> None:
    image = image_of(40, 20)
    found, placement = resized(image, Resize(width=20, height=20, fit="letterbox", fill=114), 10**6)
    array = as_array(found)
    assert (array[:5] == 114).all()
    assert (array[15:] == 114).all()
    np.testing.assert_array_equal(array[5:15], as_array(image.resize((20, 10), Image.Resampling.BILINEAR)))
    assert (placement.left, placement.top, placement.scale_x) == (0, 5, 0.5)


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    image = image_of(16, 12)
    for fit in ("stretch", "crop", "letterbox"):
        found, _ = resized(image, Resize.model_validate({"width": 16, "height": 12, "fit": fit}), 10**6)
        np.testing.assert_array_equal(as_array(found), as_array(image))


def test_a_sliver_is_not_scaled_to_an_endless_image() -> None:
    with pytest.raises(SampleError, match="1 x 5000 pixels would be scaled to 64 x 320000, at most 1000000"):
        resized(image_of(1, 5000), Resize(width=64, height=64, fit="crop"), 10**6)
