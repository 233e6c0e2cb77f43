"""Networks for the tests of quantization, made node by node, and data for them."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tests.compression.zoo import Case, spec

from shoal_compression.data import Data, Samples
from shoal_compression.model import Model
from shoal_compression.running import outputs_of

CHANNELS = 8


def graph(nodes: list[Any], weights: dict[str, Any], shapes: tuple[list[Any], list[Any]], opset: int = 17) -> bytes:
    """Return an ONNX file with an input `x` and an output `y`."""
    ends = [helper.make_tensor_value_info(*one) for one in zip("xy", [TensorProto.FLOAT] * 2, shapes, strict=True)]
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "net", ends[:1], ends[1:], held)
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(proto.SerializeToString())


def outliers(spread: float = 6.0, opset: int = 17, ceiling: bool = False) -> Case:
    """Return convolution, ReLU, depthwise convolution, mean, Gemm, whose channels differ in scale by 2^±spread.

    The scales cancel: the network computes the same for every `spread`.
    """
    random = np.random.default_rng(3)
    factor = np.exp2(np.linspace(-spread, spread, CHANNELS)).astype(np.float32)
    weights = {
        "w1": random.normal(0, 0.5, (CHANNELS, 1, 3, 3)).astype(np.float32) * factor.reshape(-1, 1, 1, 1),
        "b1": random.normal(0, 0.1, CHANNELS).astype(np.float32) * factor,
        "w2": random.normal(0, 0.5, (CHANNELS, 1, 3, 3)).astype(np.float32) / factor.reshape(-1, 1, 1, 1),
        "b2": random.normal(0, 0.1, CHANNELS).astype(np.float32),
        "w3": random.normal(0, 1, (CHANNELS, 4)).astype(np.float32),
        "b3": np.zeros(4, np.float32),
        "low": np.zeros((), np.float32),
        "high": np.full((), 1e6, np.float32),
    }
    operator, given = ("Clip", ["a", "low", "high"]) if ceiling else ("Relu", ["a"])
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node(operator, given, ["b"]),
        helper.make_node("Conv", ["b", "w2", "b2"], ["c"], "depthwise", group=CHANNELS),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], "last"),
    ]
    content = graph(nodes, weights, (["n", 1, 8, 8], ["n", 4]), opset)
    return case(Model("onnx", content, (spec("x", -1, 1, 8, 8),), (spec("y", -1, 4),)))


def products() -> Case:
    """Return two matrix products on (n, 6, 32), as a transformer has them."""
    random = np.random.default_rng(5)
    weights = {
        "w1": random.normal(0, 0.2, (32, 64)).astype(np.float32),
        "b1": random.normal(0, 0.1, 64).astype(np.float32),
        "w2": random.normal(0, 0.2, (64, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], "first"),
        helper.make_node("Add", ["a", "b1"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["y"], "second"),
    ]
    content = graph(nodes, weights, (["n", 6, 32], ["n", 6, 8]))
    return case(Model("onnx", content, (spec("x", -1, 6, 32),), (spec("y", -1, 6, 8),)))


def case(model: Model) -> Case:
    """Return a model with samples at random, and its own answers as labels."""
    random, shape = np.random.default_rng(7), model.inputs[0].shape[1:]
    x = random.normal(0, 1, (400, *shape)).astype(np.float32)
    answers = outputs_of(model, Samples({"x": x}))["y"].reshape(400, -1).argmax(axis=1)
    calibration, test = (Samples({"x": x[part]}, answers[part]) for part in (slice(0, 150), slice(150, 400)))
    return Case(model, Data(calibration, test))


def convolutions(padding: dict[str, Any] | None = None, stride: int = 1) -> Case:
    """Return three convolutions with ReLU whose biases are zero, and a mean; padded by `padding`, their attributes."""
    random = np.random.default_rng(0)
    nodes, weights, x = [], {}, "x"
    for place, inputs in enumerate((3, 16, 16)):
        weights[f"w{place}"] = random.normal(0, 0.3, (16, inputs, 3, 3)).astype(np.float32)
        weights[f"b{place}"] = np.zeros(16, np.float32)
        kept = padding or {"pads": [1, 1, 1, 1]}
        given = [x, f"w{place}", f"b{place}"]
        nodes.append(helper.make_node("Conv", given, [f"c{place}"], f"conv{place}", strides=[stride] * 2, **kept))
        x = f"r{place}"
        nodes.append(helper.make_node("Relu", [f"c{place}"], [x]))
    nodes += [helper.make_node("GlobalAveragePool", [x], ["g"]), helper.make_node("Flatten", ["g"], ["y"])]
    content = graph(nodes, weights, (["n", 3, 8, 8], ["n", 16]))
    return case(Model("onnx", content, (spec("x", -1, 3, 8, 8),), (spec("y", -1, 16),)))
