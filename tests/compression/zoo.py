"""Small real models and their data, for the tests of compression: the digits network as Keras and as ONNX."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shoal_compression.data import Data, Samples
from shoal_compression.model import Form, Model
from shoal_compression.source import read_source
from shoal_contract.manifest import TensorSpec
from shoal_training.digits.data import digits_splits


class Case(NamedTuple):
    """A model, and data that it was trained for."""

    model: Model
    data: Data


def digits(bundle_dir: Path, form: Form) -> Case:
    """Return the digits network of a bundle in a form that training wrote, with the samples that it was trained on."""
    source = read_source(bundle_dir)
    path = {"keras": source.keras_path, "onnx": source.onnx_path}[form]
    model = Model(form, path.read_bytes(), (source.input,), (source.output,))
    name = source.input.name
    centre = digits_splits(source.seed).centre
    return Case(
        model,
        Data(
            Samples({name: source.calibration_x}),
            Samples({name: source.test_x}, source.test_y, {"half": np.where(source.test_y < 5, "low", "high")}),
            Samples({name: centre.x}, centre.y),
        ),
    )


def spec(name: str, *shape: int) -> TensorSpec:
    """Return a float32 input or output."""
    return TensorSpec(name=name, datatype="FP32", shape=shape)


def with_weights(model: Model, value: float) -> Model:
    """Return an ONNX model with one weight of its first large tensor replaced."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(model.content)
    tensor: Any = next(one for one in proto.graph.initializer if np.prod(one.dims) > 16)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = value
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model.with_content(proto.SerializeToString())
