"""What channels are worth: by the size of their weights, or by what the loss would lose with them."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from shoal_compression.channels.groups import Channels, Group
from shoal_compression.model import Model
from shoal_compression.trainable.batches import run_rows
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.objective import Objective
from shoal_numerics.tensors import Array

Importance = Literal["l1", "l2", "taylor"]
Scores = npt.NDArray[np.float64]
_BATCHES = 8
_ROWS = 64


def by_size(channels: Channels, group: Group, weights: dict[str, Array], order: int) -> Scores:
    """Return (channels,) the norm of what belongs to each channel, 1 on average in every weight of the group.

    Scaled so, groups can be compared: no layer is emptied because its weights are small.
    """
    total = np.zeros(len(group.channels))
    for name, axis in group.parts:
        value = weights[name]
        if value.ndim < 2:  # noqa: PLR2004 - a shift says nothing of what a channel carries
            continue
        sums = (np.abs(value.astype(np.float64)) ** order).sum(axis=tuple(set(range(value.ndim)) - {axis}))
        norms = _by_channel(channels.weights[name][axis], sums, group) ** (1 / order)
        total += norms / max(float(norms.mean()), 1e-12)
    return total


def by_taylor(
    network: Network, model: Model, objective: Objective, channels: Channels, seed: int
) -> dict[tuple[tuple[str, int], ...], Scores]:
    """Return by group (channels,) the squared first-order change of the loss without each channel.

    Molchanov et al. 2019, arXiv 1906.10771. Scaled to 1 on average in each group.
    """
    rng = np.random.default_rng(seed)
    scores = {group.parts: np.zeros(len(group.channels)) for group in channels.groups}
    for rows in np.array_split(rng.permutation(len(objective.samples))[: _BATCHES * _ROWS], _BATCHES):
        if not len(rows):
            continue
        network.zero_grad(set_to_none=True)
        answers = run_rows(network, model, objective.samples, rows, [objective.head.tap])[objective.head.tap]
        objective.loss(answers, torch.from_numpy(rows)).backward()  # type: ignore[no-untyped-call]
        slopes = {name: one.grad for name, one in network.weights.items() if one.grad is not None}
        for group in channels.groups:
            scores[group.parts] += _change(network, channels, group, slopes) ** 2
    network.zero_grad(set_to_none=True)
    return {parts: score / max(float(score.mean()), 1e-30) for parts, score in scores.items()}


def _change(network: Network, channels: Channels, group: Group, slopes: dict[str, torch.Tensor]) -> Scores:
    total = np.zeros(len(group.channels))
    for name, axis in group.parts:
        if name in slopes:
            product = (network.weights[name].detach() * slopes[name]).double().cpu().numpy()
            sums = product.sum(axis=tuple(set(range(product.ndim)) - {axis}))
            total += _by_channel(channels.weights[name][axis], sums, group)
    return total


def _by_channel(labels: Array, values: Array, group: Group) -> Scores:
    """Add up the values of the places that belong to each channel of a group."""
    places = np.searchsorted(group.channels, labels)
    places = np.where(places < len(group.channels), places, 0)
    mine = group.channels[places] == labels
    return np.bincount(places[mine], weights=values[mine], minlength=len(group.channels)).astype(np.float64)
