"""A version's processing as a whole: what it needs, what it leaves out, what it answers."""

from typing import Any

import numpy as np
import pytest
from tests.contract.golden_messages import manifest
from tests.contract.golden_processing import image_manifest, table_manifest
from tests.fixtures import tiny
from tests.numerics.processing.pictures import encoded, pixels
from tests.numerics.processing.test_tables import objects

from shoal_agent.processing import Pipeline, ProcessingError
from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.processing import ClassesOutput, Processing

TABLE = table_manifest(manifest())


def changed(whole: VersionManifest, **fields: Any) -> VersionManifest:
    return whole.model_copy(update=fields)


def test_several_inputs_leave_out_the_same_samples_and_keep_the_others_in_step() -> None:
    files = [encoded(pixels(8, 8, 0)), b"broken", encoded(pixels(8, 8, 2)), encoded(pixels(8, 8, 3))]
    columns = {
        "weight": np.array([8.0, 8.0, 10.0, np.nan]),
        "colour": objects("red", "green", "blue", None),
        "place": objects("north", "south", "north", None),
        "image": objects(*files),
    }
    found = Pipeline(TABLE).prepare(columns, 4)
    assert found.kept.tolist() == [0, 2]
    assert found.refused.keys() == {1, 3}
    assert "neither JPEG nor PNG" in found.refused[1]
    assert found.refused[3] == "column 'place': the value is missing"
    assert found.inputs["row"].tolist() == [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert found.inputs["image"].shape == (2, 8, 8, 1)
    alone = Pipeline(TABLE).prepare({name: column[2:3] for name, column in columns.items()}, 1)
    np.testing.assert_array_equal(found.inputs["image"][1], alone.inputs["image"][0])
    assert len(found.placements) == 2


def test_the_columns_that_are_needed_are_named() -> None:
    assert Pipeline(TABLE).columns({"weight", "other"}) == ("weight", "colour", "place", "image")
    assert Pipeline(TABLE).image_input == "image"
    assert Pipeline(tiny.tiny_manifest()).image_input is None


def test_answers_have_their_labels_and_boxes_hide_their_scores() -> None:
    whole = image_manifest(manifest())
    prepared = Pipeline(whole).prepare({"image": objects(encoded(pixels(96, 64)))}, 1)
    outputs = {
        "scores": np.array([[0.0, 3.0]], dtype=np.float32),
        "boxes": np.array([[[0.5, 0.5, 0.5, 0.5]] * 20], dtype=np.float32),
        "box scores": np.full((1, 20, 2), 4.0, dtype=np.float32),
    }
    found = Pipeline(whole).read(outputs, prepared)
    assert found["scores.labels"][0].tolist() == ["one"]
    assert found.keys() >= {"boxes", "boxes.labels", "boxes.scores"}
    assert not any(name.startswith("box scores") for name in found)
    np.testing.assert_allclose(found["boxes"][0][0], [36, 24, 60, 40], atol=1e-3)


def test_without_a_declaration_a_list_of_the_input_s_name_is_taken() -> None:
    rows = [row.tolist() for row in tiny.GOLDEN]
    found = Pipeline(tiny.tiny_manifest()).prepare({"x": objects(*rows, [1.0], None, "text", ["a", 1, 2, 3])}, 6)
    np.testing.assert_array_equal(found.inputs["x"], tiny.GOLDEN)
    assert found.refused[2] == "column 'x': 1 numbers found, expected [4]"
    assert found.refused[3] == "column 'x': the value is missing"
    assert "no number and no list of them" in found.refused[4]
    assert "no number and no list of them" in found.refused[5]


def test_without_a_declaration_columns_of_the_baseline_s_names_are_taken() -> None:
    pipeline, names = Pipeline(tiny.tiny_manifest()), ["f0", "f1", "f2", "f3"]
    assert pipeline.columns(names) == tuple(names)
    found = pipeline.prepare({name: tiny.GOLDEN[:, at] for at, name in enumerate(names)}, 2)
    np.testing.assert_array_equal(found.inputs["x"], tiny.GOLDEN)
    assert pipeline.columns(["f0", "f1"]) == ("x",)
    with pytest.raises(ProcessingError, match="no column 'x'; the data has f0"):
        pipeline.prepare({"f0": np.zeros(2)}, 2)


@pytest.mark.parametrize(
    ("datatype", "value", "fits"),
    [("INT8", 127, True), ("INT8", 128, False), ("UINT8", -1, False), ("INT32", 1.5, False), ("INT32", 2.0, True),
     ("INT64", 2**62 + 1, True), ("BOOL", 2, False), ("BOOL", 1, True), ("FP32", 1.5, True), ("INT16", "7", True),
     ("INT16", float("nan"), False)],
)  # fmt: skip
def test_numbers_as_they_are_have_to_fit_the_datatype(datatype: Any, value: object, fits: bool) -> None:
    specs = (TensorSpec(name="x", datatype=datatype, shape=(-1, 1)),)
    found = Pipeline(changed(tiny.tiny_manifest(), inputs=specs)).prepare({"x": objects(value)}, 1)
    assert (found.refused == {}) is fits
    if fits:
        assert found.inputs["x"].tolist() == [[float(value) if datatype == "FP32" else int(value)]]  # type: ignore[call-overload]


def test_text_goes_to_a_model_of_text() -> None:
    specs = (TensorSpec(name="x", datatype="BYTES", shape=(-1, 1)),)
    found = Pipeline(changed(tiny.tiny_manifest(), inputs=specs)).prepare({"x": objects("grün", b"raw", 3)}, 3)
    assert found.inputs["x"].tolist() == [["grün".encode()], [b"raw"], [b"3"]]


def test_what_is_declared_of_an_output_alone_leaves_inputs_as_they_are() -> None:
    processing = Processing(outputs={"probabilities": ClassesOutput()})
    pipeline = Pipeline(changed(tiny.tiny_manifest(), processing=processing))
    prepared = pipeline.prepare({"x": objects(*tiny.GOLDEN)}, 2)
    found = pipeline.read({"probabilities": tiny.probabilities(tiny.GOLDEN)}, prepared)
    assert found["probabilities.label"].tolist() == [
        ("a", "b", "c")[place] for place in tiny.probabilities(tiny.GOLDEN).argmax(axis=1)
    ]
