"""Corrects the biases of a quantized graph by what rounding shifts each channel's mean.

The shift is measured on samples, layer after layer, so that each correction sees those before it (Nagel et al.
2019, arXiv 1906.04721, section 4.2 and appendix D).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.technique import Progress
from shoal_compression.techniques.quantize.observing import observe
from shoal_compression.techniques.quantize.qdq import replace_constant, weights_of
from shoal_numerics.tensors import Array

# ruff: noqa: ANN401 - messages of ONNX


def correct_biases(proto: Any, made: Any, model: Model, samples: Samples, threads: int, progress: Progress) -> int:
    """Change the biases of `made`, which is `proto` quantized, in place; returns how many layers had one.

    Layers whose bias is no part of them (MatMul), or is another's as well, are left as they are.
    """
    from onnx import numpy_helper

    targets = _means(proto, model, samples, _outputs(proto), threads)
    layers = [weight for weight in weights_of(made) if weight.bias is not None and weight.node in targets]
    uses = Counter(weight.bias.name for weight in layers if weight.bias is not None)
    layers = [weight for weight in layers if weight.bias is not None and uses[weight.bias.name] == 1]
    for done, layer in enumerate(layers):
        if layer.bias is None:
            continue
        progress("bias correction", done, len(layers))
        name = _outputs(made)[layer.node]
        found = _means(made, model, samples, {layer.node: name}, threads)[layer.node]
        held = {one.name: one for one in made.graph.initializer}
        bias = numpy_helper.to_array(held[layer.bias.name]).astype(np.int64)
        steps = np.round((found - targets[layer.node]) / layer.bias.scale.astype(np.float64)).astype(np.int64)
        limits = np.iinfo(np.int32)
        replace_constant(made, layer.bias.name, np.clip(bias - steps, limits.min, limits.max).astype(np.int32))
    progress("bias correction", len(layers), len(layers))
    return len(layers)


def _outputs(proto: Any) -> dict[str, str]:
    return {node.name: node.output[0] for node in proto.graph.node if node.op_type in {"Conv", "Gemm"}}


def _means(proto: Any, model: Model, samples: Samples, tensors: Mapping[str, str], threads: int) -> dict[str, Array]:
    """Return the mean of each channel (the second axis) of these tensors, by node."""
    sums: dict[str, Array] = {}
    rows: dict[str, int] = {}
    for found in observe(proto, model, samples, list(tensors.values()), threads):
        for node, name in tensors.items():
            array = np.moveaxis(found[name].astype(np.float64), 1, 0)
            array = array.reshape(len(array), -1)
            sums[node] = sums.get(node, 0.0) + array.sum(axis=1)
            rows[node] = rows.get(node, 0) + array.shape[1]
    return {node: total / rows[node] for node, total in sums.items()}
