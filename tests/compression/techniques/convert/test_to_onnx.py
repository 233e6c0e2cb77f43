"""Keras as ONNX: the same answers, and names that do not count on."""

from pathlib import Path

import onnx
import pytest
from tests.compression.zoo import digits, keras_model, noise

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.running import outputs_of
from shoal_compression.techniques.convert.to_onnx import ToOnnx
from shoal_compression.tensorflow_runtime import load_keras


def test_onnx_answers_as_keras_does(bundle_dir: Path) -> None:
    model, data = digits(bundle_dir, "keras")
    made = ToOnnx().apply(model, data, Budget())
    answers = [outputs_of(one, data.test)["probabilities"] for one in (model, made)]
    assert sqnr_db(*answers) > 100


@pytest.mark.parametrize("opset", [13, 18])
def test_the_opset_is_the_one_that_is_asked_for(bundle_dir: Path, opset: int) -> None:
    model, data = digits(bundle_dir, "keras")
    made = onnx.load_from_string(ToOnnx(opset=opset).apply(model, data, Budget()).content)
    assert {one.domain: one.version for one in made.opset_import}[""] == opset


def test_a_network_of_two_inputs_keeps_their_names_and_order() -> None:
    keras = load_keras()
    left, right = keras.layers.Input((4,), name="left"), keras.layers.Input((2,), name="right")
    joined = keras.layers.Concatenate(name="join")([left, right])
    model = keras_model(keras.Model([left, right], keras.layers.Dense(3, name="scores")(joined)))
    data = noise(model)
    made = ToOnnx().apply(model, data, Budget())
    answers = [outputs_of(one, data.test)["scores"] for one in (model, made)]
    assert sqnr_db(*answers) > 100
