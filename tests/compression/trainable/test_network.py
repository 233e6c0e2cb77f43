"""The trainable view of ONNX graphs answers as ONNX Runtime does, and only weights change by it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.compression.networks import KINDS, network
from tests.compression.zoo import digits, spec

from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.trainable.graph import weights_of
from shoal_compression.trainable.network import Network

X = np.random.default_rng(0).normal(size=(2, 4, 9, 10)).astype(np.float32)


def _ones(*inputs: Any, **kept: Any) -> Any:
    return inputs, kept


def _weights(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def _whole(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


OPERATORS = {
    "Conv-same": ("Conv", _ones(_weights(6, 4, 3, 3), _weights(6), auto_pad="SAME_UPPER", strides=[2, 2])),
    "Conv-lower": ("Conv", _ones(_weights(6, 4, 2, 2), auto_pad="SAME_LOWER")),
    "Conv-uneven": ("Conv", _ones(_weights(6, 4, 3, 2), pads=[0, 1, 2, 0], dilations=[2, 1])),
    "Conv-depthwise": ("Conv", _ones(_weights(8, 1, 3, 3), _weights(8), group=4, pads=[1, 1, 1, 1])),
    "ConvTranspose": (
        "ConvTranspose",
        _ones(_weights(4, 3, 3, 3), _weights(3), strides=[2, 2], pads=[1, 0, 1, 1], output_padding=[1, 0]),
    ),
    "BatchNormalization": (
        "BatchNormalization",
        _ones(_weights(4), _weights(4), _weights(4), np.abs(_weights(4)), epsilon=1e-3),
    ),
    "LayerNormalization": ("LayerNormalization", _ones(_weights(9, 10), _weights(9, 10), axis=2)),
    "InstanceNormalization": ("InstanceNormalization", _ones(_weights(4), _weights(4))),
    "MaxPool-ceil": ("MaxPool", _ones(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[0, 1, 0, 1])),
    "AveragePool": ("AveragePool", _ones(kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])),
    "AveragePool-ceil": ("AveragePool", _ones(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1)),
    "AveragePool-same": ("AveragePool", _ones(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")),
    "Clip": ("Clip", _ones(np.float32(-0.5), np.float32(0.7))),
    "HardSigmoid": ("HardSigmoid", _ones(alpha=0.3)),
    "Gelu-tanh": ("Gelu", _ones(approximate="tanh")),
    "PRelu": ("PRelu", _ones(_weights(4, 1, 1))),
    "Pow": ("Pow", _ones(np.float32(2))),
    "ReduceMean": ("ReduceMean", _ones(_whole(1, -1), keepdims=0)),
    "ReduceL2": ("ReduceL2", _ones(_whole(1))),
    "Softmax": ("Softmax", _ones(axis=1)),
    "Slice-back": ("Slice", _ones(_whole(-1, 1), _whole(-100, 8), _whole(3, 2), _whole(-2, 3))),
    "Gather": ("Gather", _ones(np.array([[0, -1], [2, 1]]), axis=2)),
    "Pad": ("Pad", _ones(_whole(0, 0, 1, 2, 0, 0, 0, 1), np.float32(1.5))),
    "Pad-axes": ("Pad", _ones(_whole(2, 1), np.float32(0), _whole(3))),
    "Pad-reflect": ("Pad", _ones(_whole(0, 0, 1, 2, 0, 0, 0, 1), mode="reflect")),
    "Expand": ("Expand", _ones(_whole(3, 1, 1, 1, 1))),
    "Tile": ("Tile", _ones(_whole(1, 2, 1, 3))),
    "Unsqueeze": ("Unsqueeze", _ones(_whole(0, -1))),
    "Flatten": ("Flatten", _ones(axis=2)),
    "QuantizeLinear": ("QuantizeLinear", _ones(np.float32(0.02), np.uint8(100))),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_answers_as_by_onnx_runtime(name: str) -> None:
    kind, (inputs, attributes) = OPERATORS[name]
    constants = [numpy_helper.from_array(np.asarray(one), f"c{place}") for place, one in enumerate(inputs)]
    node = helper.make_node(kind, ["x", *(one.name for one in constants)], ["y"], **attributes)
    proto = helper.make_model(
        helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *X.shape[1:]])],
            [
                helper.make_tensor_value_info(
                    "y", TensorProto.UINT8 if kind == "QuantizeLinear" else TensorProto.FLOAT, None
                )
            ],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    model = Model("onnx", proto.SerializeToString(), (spec("x", -1, *X.shape[1:]),), (spec("y", -1),))
    [wanted] = ort.InferenceSession(model.content, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    found = Network(model)({"x": torch.from_numpy(X)})["y"].detach().numpy()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-4 if kind != "QuantizeLinear" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_answers_as_by_onnx_runtime(kind: str) -> None:
    case = network(kind)
    wanted = outputs_of(case.model, case.data.test)["y"]
    found = Network(case.model)({"x": torch.from_numpy(case.data.test.inputs["x"])})["y"]
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-4)


def test_the_digits_network_answers_as_by_onnx_runtime(bundle_dir: Path) -> None:
    case = digits(bundle_dir, "onnx")
    name, output = case.model.inputs[0].name, case.model.outputs[0].name
    found = Network(case.model)({name: torch.from_numpy(case.data.test.inputs[name])})[output]
    np.testing.assert_allclose(found.detach().numpy(), outputs_of(case.model, case.data.test)[output], atol=1e-4)


def test_only_weights_change_in_the_graph_that_is_written() -> None:
    case = network("residual")
    view = Network(case.model)
    with torch.no_grad():
        view.weights["out.weight"].mul_(2)
    before, after = view.proto, onnx.load_from_string(view.model().content)
    assert [node.SerializeToString() for node in after.graph.node] == [
        node.SerializeToString() for node in before.graph.node
    ]
    old, new = weights_of(before), weights_of(after)
    np.testing.assert_array_equal(new["out.weight"], 2 * old["out.weight"])
    assert all(np.array_equal(old[name], new[name]) for name in new if name != "out.weight")


def test_limits_of_clip_are_no_weights() -> None:
    view = Network(network("residual").model)
    assert not any(one.numel() == 1 for one in view.weights.values())


def test_every_operator_that_is_not_known_is_named() -> None:
    nodes = [
        helper.make_node("LSTM", ["x"], ["h"], hidden_size=2),
        helper.make_node("NonZero", ["h"], ["n"]),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model = Model("onnx", proto.SerializeToString(), (spec("x", -1, 3),), (spec("y", -1),))
    with pytest.raises(TechniqueError, match="LSTM, NonZero; leave this step out"):
        Network(model)
