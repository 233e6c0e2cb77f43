"""A model that takes one core for some milliseconds, whatever threads it has: small products, one after another."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 64
"""Of each product of a row with a matrix: too small for the runtime to share it out among threads."""


def write_steady_model(path: Path, steps: int) -> None:
    """Write `x` (1, 64) to `probabilities` (1, 10) by so many steps, each of which takes what the one before gave.

    A request is one sample, so that none are joined: a server would answer eight of them in little more time than one.
    """
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array((rng.normal(size=shape) / 8).astype(np.float32), name)
        for name, shape in {"w": (WIDTH, WIDTH), "scores_of": (WIDTH, 10)}.items()
    ]
    step = _step()
    nodes = [
        helper.make_node("Loop", ["steps", "always", "x"], ["last"], body=step),
        helper.make_node("MatMul", ["last", "scores_of"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    counts = [
        numpy_helper.from_array(np.array(steps, dtype=np.int64), "steps"),
        numpy_helper.from_array(np.array(True), "always"),  # noqa: FBT003 - a tensor
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])
    answered = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "steady", [given], [answered], [*weights, *counts])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _step() -> onnx.GraphProto:
    """Return the body of the loop: the state times `w`, bounded."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go_on_in"], ["go_on"]),
            helper.make_node("MatMul", ["state_in", "w"], ["product"]),
            helper.make_node("Tanh", ["product"], ["state"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_in", TensorProto.FLOAT, [1, WIDTH]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, WIDTH]),
        ],
    )
