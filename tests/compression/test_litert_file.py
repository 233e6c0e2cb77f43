"""LiteRT files: what can be quantized, and what says why not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from tests.compression.zoo import Case, digits, spec

from shoal_compression.errors import SourceError
from shoal_compression.litert_file import check_litert, check_quantizable, named_anew, open_litert
from shoal_compression.litert_quantizer import Rule, quantize_litert
from shoal_compression.model import Model
from shoal_compression.running import outputs_of


@pytest.fixture
def case(bundle_dir: Path) -> Case:
    return digits(bundle_dir, "tflite")


def _changed(model: Model, change: Callable[[Any], None]) -> Model:
    opened = open_litert(model.content)
    change(opened)
    return model.with_content(bytes(flatbuffer_utils.convert_object_to_bytearray(opened)))


def test_a_float_file_is_taken(case: Case) -> None:
    check_litert(case.model.content)
    check_quantizable(case.model)


def test_what_is_no_litert_file_is_refused() -> None:
    with pytest.raises(SourceError, match=r"expected the mark TFL3; give a .tflite file"):
        check_litert(b"not a model at all")


def test_a_weight_that_is_not_a_number_is_named(case: Case) -> None:
    def break_largest(opened: Any) -> None:
        buffer = max(opened.buffers, key=lambda one: 0 if one.data is None else len(one.data))
        values = np.frombuffer(bytes(buffer.data), np.float32).copy()
        values[3] = np.inf
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)

    with pytest.raises(SourceError, match=r"has nan or infinity in 1 places; train the model again"):
        check_litert(_changed(case.model, break_largest).content)


def test_a_file_without_a_signature_says_how_to_get_one(case: Case) -> None:
    def strip(opened: Any) -> None:
        opened.signatureDefs = []

    with pytest.raises(SourceError, match=r"signatures \[\] found, expected serving_default; convert .* to-litert"):
        check_quantizable(_changed(case.model, strip))


def test_what_is_quantized_is_not_quantized_again(case: Case) -> None:
    small = case.model.with_content(quantize_litert(case.model, [Rule(compute="dynamic")], case.data.calibration))
    with pytest.raises(SourceError, match=r"is quantized already; start from the float32 file"):
        check_quantizable(small)


def test_an_open_size_other_than_the_batch_is_refused(case: Case) -> None:
    opened = Model("tflite", case.model.content, (spec("image", -1, -1, 8, 1),), case.model.outputs)
    with pytest.raises(SourceError, match=r"image has an open size on the axes \[1\].*build the model with the sizes"):
        check_quantizable(opened)


def test_ends_get_the_names_that_they_are_given(case: Case) -> None:
    renamed = Model(
        "tflite", named_anew(case.model.content, ["x"], ["y"]), (spec("x", -1, 8, 8, 1),), (spec("y", -1, 10),)
    )
    samples = case.data.test
    found = outputs_of(renamed, type(samples)({"x": samples.inputs["image"]}))["y"]
    np.testing.assert_array_equal(found, outputs_of(case.model, samples)["probabilities"])
