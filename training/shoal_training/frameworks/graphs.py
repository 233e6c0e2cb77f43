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
    from onnx import TensorProto, helper
    from onnx.utils import Extractor

    graph = model.graph
    if all(one.domain for one in model.opset_import):  # of trees alone: what is added here is of the standard operators
        model.opset_import.add(domain="", version=OPSET)
    found = _moved(graph, output)
    shape = [None] if is_flat else [None, None]
    old = [one for one in graph.output if one.name == found]
    if old and not is_flat and old[0].type.tensor_type.HasField("shape"):
        shape = [None, *(size.dim_value or None for size in list(old[0].type.tensor_type.shape.dim)[1:])]
    _append(graph, found, is_flat=is_flat, is_negated=is_negated)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, shape))
    return Extractor(model).extract_model([graph.input[0].name], [SCORES])


def _moved(graph: Any, output: str) -> str:  # noqa: ANN401 - onnx has few types
    """Free the name `scores`, which skl2onnx gives to those of anomalies; return what the output is called now."""
    if output != SCORES:
        return output
    moved = f"{SCORES}_found"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [moved if one == SCORES else one for one in names]
    for one in graph.output:
        one.name = moved if one.name == SCORES else one.name
    return moved


def _append(graph: Any, found: str, *, is_flat: bool, is_negated: bool) -> None:  # noqa: ANN401 - as above
    """Add the nodes from an output to `scores`."""
    import numpy as np
    from onnx import helper, numpy_helper

    now = found
    if is_negated:
        graph.node.append(helper.make_node("Neg", [now], ["scores_negated"]))
        now = "scores_negated"
    if is_flat:
        graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "scores_shape"))
        graph.node.append(helper.make_node("Reshape", [now, "scores_shape"], ["scores_flat"]))
        now = "scores_flat"
    graph.node.append(helper.make_node("Identity", [now], [SCORES]))
