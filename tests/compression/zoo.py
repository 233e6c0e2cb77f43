"""Small real models and their data, for the tests of compression: the digits network as Keras and as ONNX."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shoal_compression.data import Data, Samples
from shoal_compression.keras_file import open_keras
from shoal_compression.litert_converter import Conversion, convert
from shoal_compression.model import Form, Model
from shoal_compression.original import read_original
from shoal_compression.quieting import quiet
from shoal_contract.manifest import TensorSpec
from shoal_training.digits.data import digits_splits


class Case(NamedTuple):
    """A model, and data that it was trained for."""

    model: Model
    data: Data


def digits(bundle_dir: Path, form: Form) -> Case:
    """Return the digits network of a bundle in a form that training wrote, with the samples that it was trained on."""
    original = read_original(bundle_dir)
    model = original.models["onnx" if form == "onnx" else "keras"]
    if form == "tflite":
        model = _litert(model)
    centre, seen = digits_splits(original.seed).centre, original.data
    assert seen.test.labels is not None
    halves = {"half": np.where(seen.test.labels < 5, "low", "high")}
    train = Samples({model.inputs[0].name: centre.x}, centre.y)
    return Case(model, Data(seen.calibration, replace(seen.test, slices=halves), train, (model,)))


@cache
def _litert(model: Model) -> Model:
    return model.with_content(convert(open_keras(model), model, Conversion()), form="tflite")


def keras_model(network: Any) -> Model:
    """Return a Keras network as a model, its ends named as Keras names them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        with quiet():
            network.save(path)
        content = path.read_bytes()
    output_names = getattr(network, "output_names", [network.layers[-1].name])
    ends = [
        tuple(spec(name, *(-1 if size is None else size for size in tensor.shape)) for name, tensor in named)
        for named in (
            [(tensor.name, tensor) for tensor in network.inputs],
            zip(output_names, network.outputs, strict=True),
        )
    ]
    return Model("keras", content, *ends)


def noise(model: Model, count: int = 16, seed: int = 0) -> Data:
    """Return samples of normal noise for a model with a batch axis, the same in all parts, and classes at random."""
    random = np.random.default_rng(seed)
    inputs = {one.name: random.normal(size=(count, *one.shape[1:])).astype(np.float32) for one in model.inputs}
    samples = Samples(inputs, random.integers(0, model.outputs[0].shape[-1], count))
    return Data(samples, samples, samples)


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
