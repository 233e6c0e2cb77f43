"""A real model that takes its time: one large matrix, many times over, so that its file stays small."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tests.simulators.tiny_model import CLASSES, FEATURES, GOLDEN, TinyVersion

WIDTH = 768


def slow_version(layers: int, model: str = "slow") -> TinyVersion:
    """Return a version of which each layer takes some 0.03 ms of one core."""
    generator = np.random.default_rng(layers)
    parts = {
        "widen": generator.normal(size=(FEATURES, WIDTH)).astype(np.float32),
        "mix": np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32),
        "narrow": (generator.normal(size=(WIDTH, CLASSES)) / WIDTH).astype(np.float32),
    }
    nodes = [helper.make_node("MatMul", ["image", "widen"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{n}", "mix"], [f"h{n + 1}"]) for n in range(layers)]
    nodes += [
        helper.make_node("MatMul", [f"h{layers}", "narrow"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in parts.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    hidden = GOLDEN @ parts["widen"]
    for _ in range(layers):
        hidden = hidden @ parts["mix"]
    scores = np.exp(hidden @ parts["narrow"])
    answers = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return TinyVersion(1, model=model, file=made.SerializeToString(), golden_outputs=answers)
