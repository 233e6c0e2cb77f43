"""Declared processing: what does not add up is refused with the manifest, and an older manifest has none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.contract.golden_messages import manifest
from tests.contract.golden_processing import image_manifest, table_manifest

from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_MANIFEST_BYTES
from shoal_contract.manifest import VersionManifest
from shoal_contract.processing import (
    MAX_FEATURES,
    MAX_PIXELS,
    MAX_SIDE_PIXELS,
    MAX_VOCABULARY,
    MAX_WIDTH,
    CategoryFeature,
    ImageInput,
    NumberFeature,
    Resize,
    TabularInput,
)
from shoal_contract.wire import parse_message

GOLDEN = Path(__file__).parent / "golden"
Change = Callable[[dict[str, Any]], object]


def refused(whole: VersionManifest, change: Change) -> str:
    """Return why a manifest is refused whose `processing` was changed."""
    document = json.loads(whole.to_bytes())
    change(document["processing"])
    with pytest.raises(MessageError) as error:
        parse_message(VersionManifest, json.dumps(document).encode(), MAX_MANIFEST_BYTES)
    return str(error.value)


def test_a_manifest_of_before_has_no_processing_and_keeps_its_bytes() -> None:
    data = (GOLDEN / "version-manifest.json").read_bytes()
    assert b"processing" not in data
    read = parse_message(VersionManifest, data, MAX_MANIFEST_BYTES)
    assert read.processing is None
    assert read.to_bytes() == data


@pytest.mark.parametrize("name", ["input", "output"])
def test_processing_of_a_tensor_that_is_not_there_names_those_that_are(name: str) -> None:
    document = f"{name}s"
    error = refused(manifest_of(name), lambda found: found[document].update(other=next(iter(found[document].values()))))
    assert f"processing: no {name} 'other'; the version has" in error


def manifest_of(name: str) -> VersionManifest:
    return table_manifest(manifest()) if name == "output" else image_manifest(manifest())


@pytest.mark.parametrize(
    ("field", "value", "made"),
    [
        ("layout", "NHWC", "[-1, 32, 48, 3] is made"),
        ("colour", "GREY", "[-1, 1, 32, 48] is made"),
        ("resize", {"width": 32, "height": 48}, "[-1, 3, 48, 32] is made"),
    ],
)
def test_an_image_of_another_shape_than_the_input_is_refused(field: str, value: object, made: str) -> None:
    def change(found: dict[str, Any]) -> None:
        found["inputs"]["image"].update({field: value, "mean": [], "std": []})

    error = refused(image_manifest(manifest()), change)
    assert "input 'image': its shape is [-1, 3, 32, 48]" in error
    assert made in error


def test_a_table_of_another_width_than_the_input_is_refused() -> None:
    error = refused(table_manifest(manifest()), lambda found: found["inputs"]["row"]["features"].pop())
    assert "input 'row': its shape is [-1, 4], [-1, 3] is made" in error


def test_boxes_need_their_scores_and_one_image() -> None:
    image = image_manifest(manifest())
    error = refused(image, lambda found: found["outputs"]["boxes"].update(scores="nosuch"))
    assert "no output 'nosuch'" in error
    assert "0 inputs are made of images" in refused(image, lambda found: found["inputs"].clear())


def test_numbers_are_not_made_for_an_input_of_text() -> None:
    document = json.loads(image_manifest(manifest()).to_bytes())
    document["inputs"][0]["datatype"] = "BYTES"
    with pytest.raises(MessageError, match="its datatype is BYTES, numbers are made"):
        parse_message(VersionManifest, json.dumps(document).encode(), MAX_MANIFEST_BYTES)
    document = json.loads(image_manifest(manifest()).to_bytes())
    document["outputs"][0]["datatype"] = "BYTES"
    with pytest.raises(MessageError, match="output 'scores': its datatype is BYTES"):
        parse_message(VersionManifest, json.dumps(document).encode(), MAX_MANIFEST_BYTES)


def test_a_step_that_this_side_does_not_know_is_refused_and_never_left_out() -> None:
    error = refused(image_manifest(manifest()), lambda found: found["inputs"]["image"].update(kind="pickle"))
    assert "processing.inputs.image" in error
    assert "'pickle'" in error


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 0, "height": 8},
        {"width": MAX_SIDE_PIXELS + 1, "height": 8},
        {"width": 8, "height": 8, "fill": 256},
        {"width": 8, "height": 8, "filter": "cubic"},
        {"width": 8, "height": 8, "fit": "crop", "shorter_side": 7},
        {"width": 8, "height": 8, "fit": "letterbox", "shorter_side": 8},
    ],
)
def test_a_resize_that_can_not_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Resize.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"mean": (0.5, 0.5)},
        {"std": (1.0, 0.0, 1.0)},
        {"colour": "GREY", "mean": (0.1, 0.2, 0.3)},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"mean": (float("inf"),)},
        {"max_pixels": MAX_PIXELS + 1},
        {"colour": "CMYK"},
    ],
)
def test_an_image_input_that_can_not_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImageInput.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"vocabulary": ()}, "vocabulary"),
        ({"vocabulary": ("a", "a")}, "stands twice"),
        ({"vocabulary": ("a", "b"), "fill": "c"}, "not in its vocabulary"),
        ({"vocabulary": ("x" * 129,)}, "at most 128"),
        ({"vocabulary": tuple(map(str, range(MAX_VOCABULARY + 1)))}, "at most"),
    ],
)
def test_a_vocabulary_that_can_not_be_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        CategoryFeature.model_validate({"name": "x", **fields})


def test_a_range_of_nothing_and_a_division_by_zero_are_refused() -> None:
    with pytest.raises(ValidationError, match="low 2.0 lies above high 1.0"):
        NumberFeature(name="x", low=2.0, high=1.0)
    with pytest.raises(ValidationError, match="greater than 0"):
        NumberFeature(name="x", std=0.0)


def test_a_row_is_bounded_by_its_features_and_by_its_numbers() -> None:
    words = tuple(map(str, range(MAX_VOCABULARY)))
    wide = tuple(CategoryFeature(name=f"f{n}", vocabulary=words) for n in range(MAX_WIDTH // MAX_VOCABULARY))
    assert TabularInput(features=wide).width == MAX_WIDTH
    with pytest.raises(ValidationError, match=f"{MAX_WIDTH + 1} numbers a row"):
        TabularInput(features=(*wide, NumberFeature(name="one more")))
    number = NumberFeature(name="x")
    with pytest.raises(ValidationError, match=f"at most {MAX_FEATURES}"):
        TabularInput(features=(number,) * (MAX_FEATURES + 1))
