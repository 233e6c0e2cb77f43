"""ONNX graphs as values: read, with constants as initializers, and looked at by name."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_numerics.tensors import Array

OLDEST_OPSET: Final = 13
"""Before it Softmax, Squeeze and others meant something else."""


def read_graph(model: Model) -> onnx.ModelProto:
    """Return the graph, of opset 13 at least, with what Constant nodes held among the initializers.

    Raises:
        TechniqueError: Its opset can not be raised, or it keeps weights in a form other than dense.
    """
    proto = onnx.load_from_string(model.content)
    if opset_of(proto) < OLDEST_OPSET:
        try:
            proto = version_converter.convert_version(proto, OLDEST_OPSET)
        except Exception as error:  # the converter's errors share no base class
            doing = f"raising the opset of a graph from {opset_of(proto)} to {OLDEST_OPSET}: {str(error)[:300]}"
            raise TechniqueError(f"{doing}; export the model again with opset {OLDEST_OPSET} or newer") from error
    if proto.graph.sparse_initializer:
        raise TechniqueError("reading a graph: sparse initializers found, expected dense ones; export it without them")
    kept = []
    for node in proto.graph.node:
        value = constant_of(node)
        if value is None:
            kept.append(node)
        else:
            proto.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto


def constant_of(node: onnx.NodeProto) -> Array | None:
    """Return what a Constant node holds, None of other nodes."""
    if node.op_type != "Constant" or node.domain not in {"", "ai.onnx"}:
        return None
    held = attributes_of(node)
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32)):
        if name in held:
            return np.asarray(held[name], dtype)
    for name in ("value_int", "value_ints"):
        if name in held:
            return np.asarray(held[name], np.int64)
    value = held.get("value")
    if not isinstance(value, TensorProto):
        raise TechniqueError(f"reading the constant {node.output[0]}: {sorted(held)} found, expected a dense tensor")
    return np.asarray(numpy_helper.to_array(value))


def opset_of(proto: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a graph is written in."""
    return max((one.version for one in proto.opset_import if one.domain in {"", "ai.onnx"}), default=1)


def raise_opset(proto: onnx.ModelProto, least: int) -> onnx.ModelProto:
    """Return the graph in at least this opset.

    Raises:
        TechniqueError: It can not be converted.
    """
    if opset_of(proto) >= least:
        return proto
    try:
        return version_converter.convert_version(proto, least)
    except Exception as error:  # as above
        doing = f"raising the opset of a graph from {opset_of(proto)} to {least}: {str(error)[:300]}"
        raise TechniqueError(f"{doing}; export the model again with opset {least} or newer") from error


def attributes_of(node: onnx.NodeProto) -> dict[str, object]:
    """Return a node's attributes by name; texts as str."""
    held = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in held.items()}


def weights_of(proto: onnx.ModelProto) -> dict[str, Array]:
    """Return the initializers by name."""
    return {one.name: np.asarray(numpy_helper.to_array(one)) for one in proto.graph.initializer}


def producers_of(proto: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return the node that makes a tensor, by the tensor's name."""
    return {name: node for node in proto.graph.node for name in node.output if name}


def consumers_of(proto: onnx.ModelProto) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
    """Return the nodes that take a tensor and the places among their inputs, by the tensor's name."""
    found: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            if name:
                found.setdefault(name, []).append((node, place))
    return found


def with_weights(proto: onnx.ModelProto, values: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a graph whose initializers of these names have these values, and that has no others of no use.

    A value has the shape and datatype that the initializer gets, which may be others than it had.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    used = {name for node in made.graph.node for name in node.input} | {one.name for one in made.graph.output}
    kept = [one for one in made.graph.initializer if one.name in used]
    for tensor in kept:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(values[tensor.name], order="C"), tensor.name))
    kept = [_copy(one) for one in kept]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made


def _copy(tensor: TensorProto) -> TensorProto:
    """Return a tensor that outlives the list that it stands in."""
    made = TensorProto()
    made.CopyFrom(tensor)
    return made
