"""What of an ONNX file makes it useless however it is compressed, wherever in the file it stands."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shoal_compression.errors import SourceError
from shoal_compression.onnx_file import check_onnx


def constant(**value: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], **value)


def tensor(*values: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), "w")


def content(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> bytes:
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])]
    graph = helper.make_graph(nodes, "g", ends, [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)], weights)
    return helper.make_model(graph).SerializeToString()


def branch(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> onnx.NodeProto:
    out = [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)]
    inner = helper.make_graph(nodes, "inner", [], out, weights)
    return helper.make_node("If", ["x"], ["c"], then_branch=inner, else_branch=inner)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (content(constant(value=tensor(1, NAN, NAN))), r"value of Constant c has nan or infinity in 2 places; train"),
        (content(constant(value_float=NAN)), "value_float of Constant c has nan"),
        (content(constant(value_floats=[1.0, INF])), "value_floats of Constant c has nan or infinity in 1 places"),
        (content(branch(constant(value=tensor(1, INF)))), "value of Constant c has nan or infinity"),
        (content(branch(weights=(tensor(1, NAN),))), "the weight w has nan"),
        (content(weights=(tensor(NAN, 1),)), "the weight w has nan"),
        (content(helper.make_node("T", ["x"], ["c"], target_weights=[1.0, NAN])), "target_weights of T c has nan"),
        (b"no model", "give a file that onnx.checker takes"),
    ],
)
def test_a_number_that_is_none_is_found_in_constants_subgraphs_and_trees(file: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        check_onnx(file)


def test_a_weight_of_a_subgraph_that_is_in_another_file_is_found() -> None:
    outside = tensor(1, 2)
    outside.data_location = TensorProto.EXTERNAL
    with pytest.raises(SourceError, match="the weight w is in another file, expected all in one"):
        check_onnx(content(branch(weights=(outside,))))


def test_infinity_that_is_meant_is_no_broken_weight() -> None:
    bound = numpy_helper.from_array(np.array(INF, np.float32))
    check_onnx(content(constant(value=bound)))
    check_onnx(content(constant(value=tensor(0, -INF)), weights=(tensor(0, -INF, 0),)))
    with pytest.raises(SourceError, match="has nan or infinity in 1 places"):
        check_onnx(content(constant(value=tensor(1, -INF))))
