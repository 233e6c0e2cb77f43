"""Makes an ONNX graph ready for quantization: a new enough opset, folded constants and batch norm, names, shapes."""

import tempfile
from pathlib import Path
from typing import Any, Final

from shoal_compression.errors import SourceError, TechniqueError
from shoal_compression.model import Model
from shoal_compression.onnx_session import open_onnx, session_options
from shoal_compression.quieting import quiet

# ruff: noqa: ANN401 - messages of ONNX

LOWEST_OPSET: Final = 13
"""Below it DequantizeLinear has no axis, and the quantizer writes an invalid graph for per-channel weights."""
BIAS: Final = 2
"""The place of the bias among the inputs."""
WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose second input is a weight."""


def prepared(model: Model, doing: str, opset: int = LOWEST_OPSET) -> Any:
    """Return the graph of an ONNX model, ready for quantization; it computes the same.

    Raises:
        SourceError: The opset can not be raised, an operator is of a domain that the runtime does not know, or ONNX
            Runtime does not take the graph.
    """
    import onnx

    proto = _optimised(with_opset(onnx.load_from_string(model.content), opset, doing), doing)
    _name_nodes(proto)
    _fold_biases(proto)
    return proto


def _optimised(proto: Any, doing: str) -> Any:
    """Return the graph with constants and batch norm folded by ONNX Runtime, and with the shapes that can be known.

    ONNX Runtime's `quant_pre_process` is to do this, but without SymPy it drops what it has folded.
    """
    import onnx
    import onnxruntime as ort

    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        try:
            open_onnx(proto.SerializeToString(), options)
            folded = onnx.shape_inference.infer_shapes(onnx.load(path))
        except Exception as error:  # the runtime's errors have no root of their own
            msg = f"{doing}: ONNX Runtime does not take the graph: {str(error)[:400]}"
            raise SourceError(f"{msg}; replace the operators that it names, or bring their library") from error
    used = {node.domain for node in folded.graph.node} | {"", "ai.onnx"}
    for entry in [entry for entry in folded.opset_import if entry.domain not in used]:
        folded.opset_import.remove(entry)  # the runtime names every domain that it knows
    return folded


def with_opset(proto: Any, lowest: int, doing: str) -> Any:
    """Return the graph with at least this opset, which it names once.

    Raises:
        SourceError: It can not be converted.
    """
    from onnx import version_converter

    _name_opset_once(proto)
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    if opsets.get("", opsets.get("ai.onnx", 0)) >= lowest:
        return proto
    try:
        raised = version_converter.convert_version(proto, lowest)
    except Exception as error:  # as above
        msg = f"{doing}: opset {opsets.get('', 0)} found, at least {lowest} expected, and raising it failed"
        raise SourceError(f"{msg}: {str(error)[:300]}; export the model again with a newer opset") from error
    _name_opset_once(raised)
    return raised


def _name_opset_once(proto: Any) -> None:
    """Leave the newest of the versions that a graph names: skl2onnx and merged graphs name two, quantizers take one."""
    named = [one for one in proto.opset_import if one.domain in {"", "ai.onnx"}]
    for entry in sorted(named, key=lambda one: one.version)[:-1]:
        proto.opset_import.remove(entry)


def _name_nodes(proto: Any) -> None:
    """Give every node a name of its own: quantizers choose nodes by it."""
    taken: set[str] = set()
    for place, node in enumerate(proto.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}.{place}"
        taken.add(node.name)


def _fold_biases(proto: Any) -> None:
    """Put what is added to a convolution's channels after a Squeeze, as exporters leave it, into its bias."""
    from onnx import numpy_helper

    held, takers = constants(proto), consumers(proto)
    for conv in [node for node in proto.graph.node if node.op_type == "Conv" and len(node.input) == BIAS]:
        squeeze = _only(takers, conv.output[0], "Squeeze")
        add = _only(takers, squeeze.output[0], "Add") if squeeze is not None else None
        name = next((name for name in add.input if name in held), None) if add is not None else None
        if squeeze is None or add is None or name is None or conv.input[1] not in held:
            continue
        values, channels = numpy_helper.to_array(held[name]), held[conv.input[1]].dims[0]
        rank = len(held[conv.input[1]].dims) - 1
        tail = [1] * (rank - 2)
        if values.shape not in {(channels, *tail), (1, channels, *tail)}:
            continue
        proto.graph.initializer.append(numpy_helper.from_array(values.reshape(-1), f"{conv.name}.bias"))
        conv.input.append(f"{conv.name}.bias")
        squeeze.output[0] = add.output[0]
        proto.graph.node.remove(add)


def _only(takers: dict[str, list[Any]], name: str, kind: str) -> Any | None:
    """Return what takes a tensor, if that is one node of this kind alone."""
    found = takers.get(name, [])
    return found[0] if [getattr(node, "op_type", None) for node in found] == [kind] else None


def consumers(proto: Any) -> dict[str, list[Any]]:
    """Return the nodes that take each tensor; an output of the graph is taken by the graph itself."""
    found: dict[str, list[Any]] = {output.name: [proto.graph] for output in proto.graph.output}
    for node in proto.graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def constants(proto: Any) -> dict[str, Any]:
    """Return the graph's weights, as messages, by name."""
    return {tensor.name: tensor for tensor in proto.graph.initializer}


def weighted_nodes(proto: Any) -> list[Any]:
    """Return the nodes, in order, that have a constant float weight of two axes or more."""
    from onnx import TensorProto

    known = constants(proto)
    return [
        node
        for node in proto.graph.node
        if node.op_type in WEIGHTED
        and node.input[1] in known
        and known[node.input[1]].data_type == TensorProto.FLOAT
        and len(known[node.input[1]].dims) > 1
    ]


def check_quantizable(proto: Any, doing: str) -> None:
    """See that there is something to quantize.

    Raises:
        TechniqueError: There is none; it says which operators were found.
    """
    if weighted_nodes(proto):
        return
    found = sorted({node.op_type for node in proto.graph.node})
    hidden = sum(1 for node in proto.graph.node for part in node.attribute if part.HasField("g"))
    why = f"no {', '.join(sorted(WEIGHTED))} with constant weights among its operators {found[:12]}"
    if hidden:
        step = "its branches (If, Loop, Scan) are not looked into: export the model without them"
    elif any("TreeEnsemble" in name for name in found):
        step = "it is a tree: use a technique for trees, such as tree-compact"
    else:
        step = "keep it in float32, or use float16"
    raise TechniqueError(f"{doing}: {why}; {step}")
