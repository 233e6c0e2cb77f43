"""Tells how much each layer suffers from quantization: the answers' signal to noise when it alone is quantized."""

from dataclasses import dataclass
from typing import Any

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.data import Data, Samples
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress, silent
from shoal_compression.techniques.quantize.preparing import constants, weighted_nodes
from shoal_compression.techniques.quantize.qdq import Scheme, chosen_nodes, write_qdq
from shoal_compression.techniques.quantize.ranges import Range
from shoal_compression.techniques.quantize.static import Int8Static, StaticQuantizer

# ruff: noqa: ANN401 - messages of ONNX
ROWS = 128
"""Samples that layers are ranked on."""


@dataclass(frozen=True)
class RankedLayer:
    """One layer and what comes between it and the next."""

    layer: str
    operator: str
    weights: int
    sqnr_db: float
    """Of the model's first output, with this layer in 8 bits and all others in float32: low is sensitive."""
    nodes: tuple[str, ...]


def sensitivities(
    model: Model, data: Data, budget: Budget, progress: Progress = silent, technique: StaticQuantizer | None = None
) -> tuple[RankedLayer, ...]:
    """Return the layers of an ONNX model, the most sensitive first.

    Args:
        model: In float32.
        data: Its calibration samples are used.
        budget: Its seed and threads are used.
        progress: Told after each layer.
        technique: The scheme and the calibration; `int8-static` as it comes if None.

    Raises:
        CompressionError: The model or the samples can not be used.
    """
    technique = technique or Int8Static()
    proto, samples, ranges = technique.prepare(model, data, budget)
    return rank(proto, model, samples.first(ROWS), ranges, technique.scheme, budget, progress)


def rank(
    proto: Any,
    model: Model,
    samples: Samples,
    ranges: dict[str, Range],
    scheme: Scheme,
    budget: Budget,
    progress: Progress,
) -> tuple[RankedLayer, ...]:
    """Return the layers of a graph that is ready and calibrated, the most sensitive first."""
    name, layers = model.outputs[0].name, layers_of(proto)
    everything = {node for nodes in layers.values() for node in nodes}
    reference = outputs_of(model, samples, budget.threads)[name]
    held, nodes = constants(proto), {node.name: node for node in proto.graph.node}
    found = []
    for done, (layer, own) in enumerate(layers.items()):
        progress("ranking layers", done, len(layers))
        made = write_qdq(proto, ranges, scheme, everything - set(own))
        output = outputs_of(model.with_content(made.SerializeToString()), samples, budget.threads)[name]
        size = 1
        for dim in held[nodes[layer].input[1]].dims:
            size *= dim
        found.append(RankedLayer(layer, nodes[layer].op_type, size, sqnr_db(reference, output), tuple(own)))
    progress("ranking layers", len(layers), len(layers))
    return tuple(sorted(found, key=lambda one: (one.sqnr_db, one.layer)))


def layers_of(proto: Any) -> dict[str, list[str]]:
    """Return for each layer with weights the nodes that are quantized with it: itself and those up to the next."""
    chosen, weighted = set(chosen_nodes(proto)), [node.name for node in weighted_nodes(proto)]
    found: dict[str, list[str]] = {name: [] for name in weighted if name in chosen}
    if not found:
        return {}
    current = next(iter(found))
    for node in proto.graph.node:
        if node.name in found:
            current = node.name
        if node.name in chosen:
            found[current].append(node.name)
    return found
