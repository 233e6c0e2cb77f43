"""Brings a model's ONNX graph to the form that `Fitted.graph` promises: one input `x`, one output `scores`."""

from typing import Any, Final

SCORES: Final = "scores"
OPSET: Final = 17
"""Where a graph names none."""


def with_scores(model: Any, output: str, *, is_flat: bool = False, is_negated: bool = False) -> Any:  # noqa: ANN401 - onnx has few types
    """Return a graph with one output of the given ones.

    Args:
        model: The graph; it is changed.
        output: Which of its outputs becomes `scores`.
        is_flat: Whether it is to be (n,) instead of (n, 1).
        is_negated: Whether its sign is to be turned.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    from onnx.utils import Extractor

    graph = model.graph
    if all(one.domain for one in model.opset_import):  # of trees alone: what is added here is of the standard operators
        model.opset_import.add(domain="", version=OPSET)
    if output == SCORES:  # as skl2onnx calls those of anomalies
        output = f"{SCORES}_found"
        for node in graph.node:
            node.input[:] = [output if one == SCORES else one for one in node.input]
            node.output[:] = [output if one == SCORES else one for one in node.output]
        for one in graph.output:
            one.name = output if one.name == SCORES else one.name
    now = output
    if is_negated:
        graph.node.append(helper.make_node("Neg", [now], ["scores_negated"]))
        now = "scores_negated"
    if is_flat:
        graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "scores_shape"))
        graph.node.append(helper.make_node("Reshape", [now, "scores_shape"], ["scores_flat"]))
        now = "scores_flat"
    graph.node.append(helper.make_node("Identity", [now], [SCORES]))
    shape = [None] if is_flat else [None, None]
    old = [one for one in graph.output if one.name == output]
    if old and not is_flat and old[0].type.tensor_type.HasField("shape"):
        shape = [None, *(size.dim_value or None for size in list(old[0].type.tensor_type.shape.dim)[1:])]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, shape))
    return Extractor(model).extract_model([graph.input[0].name], [SCORES])
