"""Images: as Pillow and torchvision give them, upright, and each bad one by itself with a clear reason."""

import io
import sys
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from tests.numerics.processing.pictures import encoded, header_only, pixels, turned

from shoal_contract.manifest import Datatype, TensorSpec
from shoal_contract.processing import CHANNELS, ImageInput, Resize
from shoal_numerics.processing.errors import ProcessingError
from shoal_numerics.processing.images import make_images
from shoal_numerics.processing.made import Made

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make(files: list[Any], datatype: Datatype = "FP32", max_pixels: int = 10**6, **fields: Any) -> Made:
    made = ImageInput.model_validate(fields)
    size = (-1, -1) if made.resize is None else (made.resize.height, made.resize.width)
    channels = CHANNELS[made.colour]
    shape = (-1, channels, *size) if made.layout == "NCHW" else (-1, *size, channels)
    return make_images(made, TensorSpec(name="image", datatype=datatype, shape=shape), files, max_pixels)


def test_normalised_images_are_torchvision_s_to_tensor_and_normalize() -> None:
    """ToTensor divides by 255 in float32, Normalize takes the mean off and divides by std."""
    images = [pixels(16, 12, seed) for seed in range(3)]
    found = make([encoded(one) for one in images], scale=1 / 255, mean=MEAN, std=STD)
    stacked = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (MEAN, STD))
    assert found.array.dtype == np.float32
    assert found.array.shape == (3, 3, 12, 16)
    np.testing.assert_allclose(found.array, (stacked - mean) / std, atol=1e-6)


@pytest.mark.parametrize(
    ("colour", "layout", "axes"),
    [("RGB", "NHWC", (0, 1, 2)), ("BGR", "NHWC", (0, 1, 2)), ("RGB", "NCHW", (2, 0, 1)), ("BGR", "NCHW", (2, 0, 1))],
)
def test_colours_and_layout_are_the_declared_ones(colour: str, layout: str, axes: tuple[int, ...]) -> None:
    image = pixels(5, 4)
    found = make([encoded(image)], "UINT8", colour=colour, layout=layout).array[0]
    ordered = image[:, :, ::-1] if colour == "BGR" else image
    np.testing.assert_array_equal(found, ordered.transpose(axes))


def test_each_channel_of_bgr_has_the_mean_that_stands_in_its_place() -> None:
    image = np.array([[[10, 20, 30]]], dtype=np.uint8)
    found = make([encoded(image)], colour="BGR", mean=(30.0, 20.0, 10.0), std=(1.0, 2.0, 4.0))
    assert found.array.ravel().tolist() == [0.0, 0.0, 0.0]


def test_grey_is_pillow_s_luma() -> None:
    image = pixels(6, 5)
    found = make([encoded(image)], "UINT8", colour="GREY", layout="NHWC").array
    np.testing.assert_array_equal(found[0, :, :, 0], np.asarray(Image.fromarray(image).convert("L")))


def test_an_int8_input_gets_rounded_numbers_within_its_range() -> None:
    image = np.array([[[0, 127, 255]]], dtype=np.uint8)
    assert make([encoded(image)], "INT8", mean=(128.0,)).array.ravel().tolist() == [-128, -1, 127]
    assert make([encoded(image)], "INT8").array.ravel().tolist() == [0, 127, 127]


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(orientation: int, form: str) -> None:
    file = turned(pixels(16, 8), orientation, form)
    with Image.open(io.BytesIO(file)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    found = make([file], "UINT8", layout="NHWC")
    np.testing.assert_array_equal(found.array[0], expected)
    assert found.array.shape[1:3] == ((16, 8) if orientation > 4 else (8, 16))
    assert found.placements is not None
    assert found.placements[0] is not None
    assert (found.placements[0].width, found.placements[0].height) == ((8, 16) if orientation > 4 else (16, 8))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_of_8_bits_becomes_what_pillow_converts_it_to(mode: str) -> None:
    image = Image.fromarray(pixels(9, 7)).convert(mode)
    found = make([encoded(image)], "UINT8", layout="NHWC").array[0]
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_a_cmyk_jpeg_and_a_palette_with_transparency_are_read() -> None:
    cmyk = encoded(Image.fromarray(pixels(8, 8)).convert("CMYK"), "JPEG")
    palette = Image.fromarray(pixels(8, 8)).quantize(4)
    clear = encoded(palette, "PNG", transparency=bytes([0, 255, 255, 255]))
    assert make([cmyk, clear], "UINT8").refused == {}


def test_each_bad_image_is_refused_by_itself() -> None:
    whole = encoded(pixels(32, 32), "JPEG")
    deep = encoded(Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)))
    files = [whole, whole[: len(whole) // 2], b"", b"GIF89a" + bytes(40), None, "text", deep, encoded(pixels(32, 32))]
    found = make(files, "UINT8", resize=Resize(width=8, height=8))
    assert found.refused.keys() == {1, 2, 3, 4, 5, 6}
    assert f"an image of {len(whole) // 2} bytes: it is damaged (" in found.refused[1]
    assert "truncated" in found.refused[1]
    assert "0 bytes are neither JPEG nor PNG" in found.refused[2]
    assert "neither JPEG nor PNG" in found.refused[3]
    assert "nothing found" in found.refused[4]
    assert "str found" in found.refused[5]
    assert "its pixels are I;16, expected 8 bits a channel" in found.refused[6]
    alone = make([files[7]], "UINT8", resize=Resize(width=8, height=8))
    np.testing.assert_array_equal(found.array[7], alone.array[0])


def test_a_png_that_was_changed_on_its_way_is_refused() -> None:
    file = bytearray(encoded(pixels(32, 32)))
    file[len(file) // 2] ^= 0xFF
    assert "it is damaged" in make([bytes(file)], "UINT8").refused[0]


WHOLE = [encoded(pixels(40, 30), "JPEG"), encoded(pixels(40, 30)), turned(pixels(40, 30), 6)]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4)), max_size=4))
def test_whatever_a_file_holds_it_is_an_image_or_refused(file: bytes, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(file)
    for place, content in changes:
        at = place % len(data)
        data[at : at + len(content)] = content
    found = make([bytes(data)], "UINT8", max_pixels=10_000, resize=Resize(width=8, height=8))
    assert found.array.shape == (1, 3, 8, 8)
    assert all("decoding an image" in reason for reason in found.refused.values())


@pytest.mark.parametrize("size", [(1001, 1000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header_and_never_decoded(size: tuple[int, int]) -> None:
    with mock.patch("PIL.ImageFile.ImageFile.load", side_effect=AssertionError("decoded")):
        found = make([header_only(*size)], "UINT8", resize=Resize(width=8, height=8))
    assert "at most 1000000 allowed" in found.refused[0]
    assert "pixels" in found.refused[0]


def test_the_smaller_of_the_manifest_s_and_the_device_s_bound_holds() -> None:
    file = encoded(pixels(20, 20))
    spec = TensorSpec(name="image", datatype="UINT8", shape=(-1, 3, 20, 20))
    assert make_images(ImageInput(max_pixels=400), spec, [file], 400).refused == {}
    assert "at most 399" in make_images(ImageInput(max_pixels=399), spec, [file], 400).refused[0]
    assert "at most 399" in make_images(ImageInput(max_pixels=400), spec, [file], 399).refused[0]


def test_images_of_other_sizes_are_refused_where_no_resize_is_declared() -> None:
    files = [encoded(pixels(8, 6)), encoded(pixels(6, 8)), encoded(pixels(8, 6, 1))]
    found = make(files, "UINT8")
    assert found.refused == {1: "an image of 6 x 8 pixels found, 8 x 6 expected"}
    assert found.array.shape == (3, 3, 6, 8)


def test_without_pillow_the_extra_is_named() -> None:
    file = encoded(pixels(4, 4))
    with mock.patch.dict(sys.modules, {"PIL": None, "PIL.Image": None}), pytest.raises(ProcessingError) as error:
        make([file])
    assert "Pillow is not installed" in str(error.value)
    assert error.value.remedy == "pip install 'shoal[image]'"
