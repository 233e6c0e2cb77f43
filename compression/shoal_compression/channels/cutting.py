"""Writes the graph that is left when channels are taken away: smaller weights, group counts and shapes."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from shoal_compression.channels.groups import Channels
from shoal_compression.errors import TechniqueError
from shoal_compression.trainable.graph import with_weights
from shoal_numerics.tensors import Array


def cut(channels: Channels, weights: dict[str, Array], gone: set[int]) -> onnx.ModelProto:
    """Return the graph without these channels.

    Args:
        channels: Of the graph.
        weights: All float initializers by name, as they are to be cut.
        gone: Sets of channels, as the groups name them.
    """
    left = {name: _cut_weight(weights[name], axes, gone) for name, axes in channels.weights.items()}
    made = onnx.ModelProto()
    made.CopyFrom(channels.proto)
    shapes = []
    for place, node in enumerate(made.graph.node):
        if node.op_type == "Conv":
            _set_group(node, channels, gone)
        if node.op_type == "Reshape" and channels.sizes(node.output[0], gone) != channels.sizes(node.output[0], set()):
            shapes.append(_reshape(node, place, channels, gone))
    made.graph.initializer.extend(shapes)
    del made.graph.value_info[:]
    return with_weights(made, left)


def _cut_weight(value: Array, axes: list[Array], gone: set[int]) -> Array:
    for axis, labels in enumerate(axes):
        value = np.compress(~np.isin(labels, list(gone)), value, axis=axis)
    return np.asarray(value)


def _set_group(node: onnx.NodeProto, channels: Channels, gone: set[int]) -> None:
    """Let a depthwise convolution have as many groups as channels are left to it."""
    for attribute in node.attribute:
        if attribute.name == "group" and attribute.i == len(channels.tensors[node.input[0]][1]) and attribute.i > 1:
            attribute.i = channels.sizes(node.input[0], gone)[1]


def _reshape(node: onnx.NodeProto, place: int, channels: Channels, gone: set[int]) -> onnx.TensorProto:
    """Give a Reshape the shape that is left, as a constant of its own, open along the axis that grows with the batch.

    Raises:
        TechniqueError: More than one axis does.
    """
    sizes = channels.sizes(node.output[0], gone)
    growing = channels.growing.get(node.output[0], ())
    if len(growing) > 1:
        found = f"the axes {list(growing)} of {node.output[0]} grow with the batch, expected one at most"
        raise TechniqueError(f"cutting the Reshape {node.name}: {found}; leave the step out, or reshape in two nodes")
    for axis in growing:
        sizes[axis] = -1
    name = f"{node.output[0]}.shape.{place}"
    inputs = [node.input[0], name]
    del node.input[:]
    node.input.extend(inputs)
    kept = [one for one in node.attribute if one.name != "allowzero"]
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(one.name, helper.get_attribute_value(one)) for one in kept)
    return numpy_helper.from_array(np.array(sizes, np.int64), name)
