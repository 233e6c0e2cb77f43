"""Reads `.onnx` files for what makes a model useless however it is compressed: weights elsewhere, or not finite."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from shoal_compression.errors import SourceError
from shoal_numerics.tensors import Array

DOING: Final = "reading an ONNX model"
_CONSTANTS: Final = frozenset({"Constant", "ConstantOfShape"})


def check_onnx(content: bytes) -> None:
    """See that a file has its weights inside, all finite: initializers, constants and trees, also of subgraphs.

    Raises:
        SourceError: It is none, keeps weights elsewhere, or a weight is NaN or infinite.
    """
    import onnx

    try:
        proto = onnx.load_from_string(content)
    except Exception as error:  # protobuf's error has no public name
        raise SourceError(f"{DOING}: {error}; give a file that onnx.checker takes") from error
    for graph in _graphs(proto.graph):
        for tensor in (*graph.initializer, *(one.values for one in graph.sparse_initializer)):
            _check(f"the weight {tensor.name}", _values(tensor))
        _check_nodes(graph.node)
    for function in proto.functions:
        _check_nodes(function.node)


def _graphs(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - a message of ONNX
    """Yield a graph, and those inside of its nodes: branches and the bodies of loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _check_nodes(nodes: Any) -> None:  # noqa: ANN401 - as above
    for node in nodes:
        for attribute in node.attribute:
            is_weight = attribute.name.removesuffix("_as_tensor").endswith("_weights")  # of trees
            if not is_weight and node.op_type not in _CONSTANTS:  # a table may name what NaN stands for
                continue
            said = f"{attribute.name} of {node.op_type} {node.output[0] if node.output else node.name}"
            for values in _numbers(attribute):
                _check(said, values)


def _numbers(attribute: Any) -> Iterator[Array]:  # noqa: ANN401 - as above
    """Yield the numbers of an attribute, whichever of its forms it has."""
    yield np.asarray([*attribute.floats, *([attribute.f] if attribute.HasField("f") else [])], np.float32)
    if attribute.HasField("t"):
        yield _values(attribute.t)
    if attribute.HasField("sparse_tensor"):
        yield _values(attribute.sparse_tensor.values)


def _values(tensor: Any) -> Array:  # noqa: ANN401 - as above
    from onnx import external_data_helper, numpy_helper

    if external_data_helper.uses_external_data(tensor):
        found = f"the weight {tensor.name} is in another file, expected all in one"
        raise SourceError(f"{DOING}: {found}; save it with save_as_external_data=False")
    return numpy_helper.to_array(tensor)


def _check(said: str, values: Array) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all() or _is_bound(values):
        return
    found = f"{said} has nan or infinity in {int((~np.isfinite(values)).sum())} places"
    raise SourceError(f"{DOING}: {found}; train it again, with a lower learning rate")


def _is_bound(values: Array) -> bool:
    """Whether infinity is meant: a bound is one number, and a mask, as of attention, is 0 or minus infinity."""
    if np.isnan(values).any():
        return False
    is_filling = values.size == 1 or bool((values == 0).any())
    return values.ndim == 0 or (is_filling and bool(np.isneginf(values[values != 0]).all()))
