"""Lets a graph in QDQ form be trained: weights in float that pass through their own rounding, and written back as int8.

A QDQ graph holds weights as whole numbers behind a DequantizeLinear. Here each gets a float weight with a
QuantizeLinear before that; what is trained are these and the logarithms of all scales, so that steps are shares of a
scale (Esser et al. 2020, arXiv 1902.08153, whose gradient for a scale this is).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from shoal_compression.errors import TechniqueError
from shoal_compression.trainable.graph import attributes_of, producers_of, weights_of, with_weights
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.quantized import RANGES
from shoal_numerics.tensors import Array

SUFFIX: Final = "_quantized"
"""What ONNX Runtime adds to the name of a weight that it quantizes."""
_BIAS: Final = 2


@dataclass(frozen=True)
class Held:
    """A weight that a graph holds as whole numbers."""

    node: onnx.NodeProto
    """Its DequantizeLinear."""
    is_bias: bool
    """In 32 bits, with the scale of the input times that of the weight."""

    @property
    def master(self) -> str:
        """The name of the float weight: of a bias, which has bits enough not to be rounded, that of its values."""
        return self.node.output[0] if self.is_bias else f"{self.node.output[0]}.master"


def held_weights(proto: onnx.ModelProto) -> list[Held]:
    """Return the weights behind a DequantizeLinear."""
    kinds = {one.name: one.data_type for one in proto.graph.initializer}
    return [
        Held(node, kinds[node.input[0]] == TensorProto.INT32)
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in kinds
    ]


def simulated(proto: onnx.ModelProto, floats: Mapping[str, Array]) -> onnx.ModelProto:
    """Return the graph with float weights: those of `floats` by their names before, or what whole numbers stand for.

    Raises:
        TechniqueError: It is not in QDQ form.
    """
    held = held_weights(proto)
    if not any(node.op_type == "QuantizeLinear" for node in proto.graph.node) or not held:
        raise TechniqueError(
            "reading a graph in QDQ form: no quantized weights and activations found; quantize it first"
        )
    weights, by_output = weights_of(proto), {one.node.output[0]: one for one in held}
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    nodes = []
    for node in made.graph.node:
        one = by_output.get(node.output[0])
        if one is None:
            nodes.append(node)
            continue
        master = _master(one, weights, floats)
        made.graph.initializer.append(numpy_helper.from_array(master, one.master))
        nodes.extend(_through(one))
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(copies)
    return with_weights(made, {})


def _through(one: Held) -> list[onnx.NodeProto]:
    """Return the nodes that a float weight passes through."""
    node, rounded = one.node, f"{one.node.output[0]}.rounded"
    if one.is_bias:
        return []
    axis = int(str(attributes_of(node).get("axis", 1)))
    return [
        helper.make_node("QuantizeLinear", [one.master, *node.input[1:]], [rounded], axis=axis),
        helper.make_node("DequantizeLinear", [rounded, *node.input[1:]], list(node.output), axis=axis),
    ]


def _master(one: Held, weights: Mapping[str, Array], floats: Mapping[str, Array]) -> Array:
    whole = weights[one.node.input[0]]
    before = floats.get(one.node.input[0].removesuffix(SUFFIX))
    if before is not None and before.shape == whole.shape and before.dtype == np.float32:
        return before
    scale, zero = _grid(one, weights)
    return np.asarray((whole.astype(np.float32) - zero) * scale, np.float32)


def _grid(one: Held, weights: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return scale and zero point, shaped to a weight."""
    node, whole = one.node, weights[one.node.input[0]]
    scale = weights[node.input[1]]
    zero = weights[node.input[2]] if len(node.input) > _BIAS else np.zeros((), whole.dtype)
    axis = int(str(attributes_of(node).get("axis", 1)))
    sizes = [1] * whole.ndim
    if scale.size > 1:
        sizes[axis] = -1
        return scale.reshape(sizes), zero.astype(np.float32).reshape(sizes)
    return scale.reshape(()), zero.astype(np.float32).reshape(())


def learn_scales(network: Network) -> None:
    """Let a network with trained scales hold their logarithms."""
    scales = {name for node in network.proto.graph.node if node.op_type == "QuantizeLinear" for name in node.input[1:2]}
    with torch.no_grad():
        for name in scales & set(network.weights):
            network.weights[name].copy_(torch.log(network.weights[name]))
            network.transforms[name] = torch.exp


def written_back(proto: onnx.ModelProto, trained: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a QDQ graph with what has been trained: scales, and weights as whole numbers on the grids of these."""
    moved = with_weights(proto, trained)
    held = held_weights(moved)
    weights = weights_of(moved)
    scales = {one.node.input[1]: _bias_scale(moved, one, weights) for one in held if one.is_bias}
    weights |= {name: value for name, value in scales.items() if value is not None}
    values: dict[str, Array] = {name: value for name, value in scales.items() if value is not None}
    for one in held:
        whole = weights[one.node.input[0]]
        scale, zero = _grid(one, weights)
        low, high = RANGES[getattr(torch, str(whole.dtype))]
        placed = np.rint(trained[one.master].astype(np.float64) / scale) + zero
        values[one.node.input[0]] = np.clip(placed, low, high).astype(whole.dtype)
    return with_weights(moved, values)


def _bias_scale(proto: onnx.ModelProto, one: Held, weights: Mapping[str, Array]) -> Array | None:
    """Return the scale of the input times that of the weight, which integer kernels take a bias to have."""
    makers, name = producers_of(proto), one.node.output[0]
    for node in proto.graph.node:
        if len(node.input) > _BIAS and node.input[_BIAS] == name:
            parts = [part for source in node.input[:2] if (part := makers.get(source)) is not None]
            if [part.op_type for part in parts] == ["DequantizeLinear"] * 2:
                product = weights[parts[0].input[1]].reshape(-1) * weights[parts[1].input[1]].reshape(-1)
                return np.asarray(product.reshape(weights[one.node.input[1]].shape), np.float32)
    return None
