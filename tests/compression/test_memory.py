"""The memory of a model file is measured in a process that does nothing else."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shoal_compression.errors import TechniqueError
from shoal_compression.memory import main, memory_bytes

WIDTH = 8_000_000
"""Weights of the large model, float32."""


def _save(path: Path, width: int) -> None:
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
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def test_a_large_model_takes_the_memory_of_its_weights_and_a_small_one_next_to_none(tmp_path: Path) -> None:
    found = {}
    for name, width in (("large", WIDTH // 4), ("small", 4)):
        path = tmp_path / f"{name}.onnx"
        _save(path, width)
        found[name] = memory_bytes("onnxruntime", path, "x", "y", (4,)) or 0
    weights_bytes = WIDTH * 4
    assert weights_bytes < found["large"] < 6 * weights_bytes
    assert found["small"] < weights_bytes


def test_a_file_that_does_not_load_is_refused_with_what_the_runtime_says(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(TechniqueError, match=r"measuring the memory of .*broken\.onnx"):
        memory_bytes("onnxruntime", path, "x", "y", (4,))


def test_a_runtime_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["torch", "a.onnx", "x", "y", "4"]) == 2
    assert "expected one of onnxruntime, litert" in capsys.readouterr().err
