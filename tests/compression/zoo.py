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
            (model,),
        ),
    )


def trees() -> Case:
    """Return boosted trees over the digits, with probabilities as the first output."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.ensemble import GradientBoostingClassifier

    found = load_digits()
    x, y = found.data.astype(np.float32), found.target
    estimator = GradientBoostingClassifier(n_estimators=6, random_state=0).fit(x[:1200], y[:1200])
    proto = to_onnx(estimator, x[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    outputs = (spec("probabilities", -1, 10), TensorSpec(name="label", datatype="INT64", shape=(-1,)))
    model = Model("onnx", proto.SerializeToString(), (spec("X", -1, 64),), outputs)
    held, seen = Samples({"X": x[1200:]}, y[1200:]), Samples({"X": x[:1200]}, y[:1200])
    return Case(model, Data(seen.first(200), held, seen))


def spec(name: str, *shape: int) -> TensorSpec:
    """Return a float32 input or output."""
    return TensorSpec(name=name, datatype="FP32", shape=shape)


def with_weights(model: Model, value: float) -> Model:
    """Return an ONNX model with one weight of its first large tensor replaced, or of a leaf of its trees."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(model.content)
    leaves = [one for node in proto.graph.node for one in node.attribute if one.name == "class_weights"]
    if leaves:
        leaves[0].floats[0] = value
        return model.with_content(proto.SerializeToString())
    tensor: Any = next(one for one in proto.graph.initializer if np.prod(one.dims) > 16)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = value
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model.with_content(proto.SerializeToString())
