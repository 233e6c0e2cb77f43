"""The memory of a model is measured in a process that does nothing else."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.compression.zoo import spec

from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.model_memory import model_memory_bytes

SAMPLES = Samples({"x": np.zeros((1, 4), np.float32)})
WIDTH = 8_000_000
"""Weights of the large model, float32."""


def wide(width: int) -> Model:
    weights = numpy_helper.from_array(np.ones((4, width), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["all"]), helper.make_node("Identity", ["all"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, width])],
        [weights],
    )
    opset = [helper.make_opsetid("", 17)]
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return Model("onnx", proto.SerializeToString(), (spec("x", -1, 4),), (spec("y", -1, width),))


def test_a_large_model_takes_the_memory_of_its_weights_and_a_small_one_next_to_none() -> None:
    large, small = (model_memory_bytes(wide(width), SAMPLES) for width in (WIDTH // 4, 4))
    assert large is not None
    assert small is not None
    weights_bytes = WIDTH * 4
    assert weights_bytes < large < 6 * weights_bytes
    assert small < weights_bytes


def test_a_file_that_does_not_load_is_refused_with_what_the_runtime_says() -> None:
    with pytest.raises(TechniqueError, match=r"(?s)measuring the memory of an ONNX model: .*loading an ONNX model"):
        model_memory_bytes(wide(4).with_content(b"no model"), SAMPLES)
