"""The channels of a graph that can be taken away, by groups that belong to the same layers."""

from dataclasses import dataclass

import numpy as np
import onnx
import torch

from shoal_compression.channels.labels import FIXED, Labels, Unions, fixed
from shoal_compression.channels.rules import Axes, Place, passed
from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.trainable.network import Network

_ROWS = 2
"""Samples in the request that shapes are read from; with one, a batch would look like an axis of size 1."""
_MORE_ROWS = 3
"""In another request, that tells which axes grow with the batch."""
Part = tuple[str, int]
"""A weight and an axis of it."""


@dataclass(frozen=True)
class Group:
    """Channels that all live in the same axes of the same weights."""

    parts: tuple[Part, ...]
    channels: Labels
    """(n,) sets of labels, each of which stays or goes as one."""


@dataclass(frozen=True)
class Channels:
    """A graph with the channel of every place of every axis."""

    proto: onnx.ModelProto
    tensors: dict[str, Axes]
    """Labels by tensor and axis, each the one by which its set is known."""
    weights: dict[str, Axes]
    """Those of the tensors that are weights or constants of floats."""
    groups: tuple[Group, ...]
    growing: dict[str, tuple[int, ...]]
    """The axes of each tensor that grow with the batch; none of a model without one."""

    def sizes(self, name: str, gone: set[int]) -> list[int]:
        """Return the shape of a tensor without these channels."""
        return [int((~np.isin(labels, list(gone))).sum()) for labels in self.tensors[name]]


def channels_of(network: Network, model: Model, samples: Samples) -> Channels:
    """Follow the channels through a graph, as it runs on samples.

    Raises:
        TechniqueError: The graph does not run.
    """
    values = _values(network, model, samples, _ROWS)
    unions, proto = Unions(), network.proto
    tensors: dict[str, Axes] = {name: [fixed(size) for size in value.shape] for name, value in values.items()}
    held = [one.name for one in proto.graph.initializer if values[one.name].is_floating_point()]
    for name in held:
        tensors[name] = [unions.fresh(size) for size in values[name].shape]
    for node in proto.graph.node:
        inputs = [tensors[name] if name else [] for name in node.input]
        numbers = [_whole_numbers(values[name]) if name else None for name in node.input]
        outputs = [name for name in node.output if name]
        shapes = [list(values[name].shape) for name in outputs]
        tensors.update(zip(outputs, passed(Place(node, inputs, shapes, numbers, unions)), strict=True))
    for spec in proto.graph.output:
        for labels in tensors[spec.name]:
            unions.fix(labels)
    rooted = {name: [unions.roots(labels) for labels in axes] for name, axes in tensors.items()}
    weights = {name: rooted[name] for name in held}
    return Channels(proto, rooted, weights, _groups(weights), _growing(network, model, samples, values))


def _growing(
    network: Network, model: Model, samples: Samples, values: dict[str, torch.Tensor]
) -> dict[str, tuple[int, ...]]:
    if not model.is_batched:
        return {}
    more = _values(network, model, samples, _MORE_ROWS)
    sizes = {name: zip(value.shape, more[name].shape, strict=True) for name, value in values.items()}
    return {name: tuple(axis for axis, (a, b) in enumerate(pairs) if a != b) for name, pairs in sizes.items()}


def _values(network: Network, model: Model, samples: Samples, rows: int) -> dict[str, torch.Tensor]:
    place = np.arange(rows) % len(samples) if model.is_batched else 0
    arrays = {name: np.array(array[place], order="C") for name, array in samples.inputs.items()}
    with torch.no_grad():
        return network.values({name: torch.from_numpy(array) for name, array in arrays.items()})


def _whole_numbers(value: torch.Tensor) -> list[int] | None:
    if value.is_floating_point() or value.ndim > 1:
        return None
    return [int(one) for one in value.reshape(-1).tolist()]


def _groups(weights: dict[str, Axes]) -> tuple[Group, ...]:
    """Return the channels by where they live, in the order of the weights."""
    places: dict[int, list[Part]] = {}
    for name, axes in weights.items():
        for axis, labels in enumerate(axes):
            for channel in np.unique(labels[labels != FIXED]):
                places.setdefault(int(channel), []).append((name, axis))
    found: dict[tuple[Part, ...], list[int]] = {}
    for channel, parts in places.items():
        found.setdefault(tuple(parts), []).append(channel)
    return tuple(Group(parts, np.array(sorted(members), np.int64)) for parts, members in found.items())
