"""Builds networks in PyTorch, and puts what a model says behind them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from shoal_training.errors import NetworkError
from shoal_training.frameworks.layers import Layer, Shape
from shoal_training.frameworks.networks import Network, Own
from shoal_training.frameworks.own_network import build_own

if TYPE_CHECKING:
    import torch


def build_torch(network: Network, sources: Mapping[str, str], shape: Shape, outputs: int) -> "torch.nn.Module":
    """Build a network from (n, *shape) float32 to (n, outputs), with fresh weights.

    Raises:
        NetworkError: It can not be built, or gives something else.
    """
    import torch

    if isinstance(network, Own):
        built = build_own(network, sources, shape, outputs)
        if not isinstance(built, torch.nn.Module):
            raise NetworkError(f"building {network.build}: {type(built).__name__} found, expected a torch.nn.Module")
        return built
    layers = network.layers(shape, outputs) or ()
    return torch.nn.Sequential(*(module for layer in layers for module in _MODULES[layer.kind](layer)))


def check_output(network: "torch.nn.Module", described: str, shape: Shape, outputs: int) -> None:
    """See that a network gives (n, outputs).

    Raises:
        NetworkError: It does not.
    """
    import torch

    network.eval()
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            found = network(torch.zeros((2, *shape), device=device))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise NetworkError(f"building {described}: it does not take samples of shape {shape}: {error}") from error
    if not isinstance(found, torch.Tensor) or found.shape != (2, outputs):
        told = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise NetworkError(
            f"building {described}: two samples give {told}, expected (2, {outputs}); end it with a layer of {outputs}"
        )


def scored(network: "torch.nn.Module", mean: float | None, deviation: float) -> "torch.nn.Module":
    """Return the whole model: `x` to `scores`.

    Args:
        network: To (n, outputs).
        mean: Of a regression's answers; None: the outputs are logits of classes.
        deviation: Of the same.
    """
    import torch

    class Scored(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.network(x).float()
            return torch.softmax(found, dim=1) if mean is None else found[:, 0] * deviation + mean

    return Scored()


def _channels(layer: Layer) -> list[Any]:
    """Bring channels to where PyTorch has them, in front."""
    import torch

    class ToFront(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.unsqueeze(1) if layer.setting == "missing" else x.movedim(-1, 1)

    return [] if layer.setting == "first" else [ToFront()]


def _convolution(layer: Layer) -> list[Any]:
    import torch

    kind = torch.nn.Conv2d if len(layer.takes) == 3 else torch.nn.Conv1d  # noqa: PLR2004 - two sizes and channels
    return [kind(layer.takes[-1], layer.gives[-1], int(layer.setting), padding="same")]


def _pool(layer: Layer) -> list[Any]:
    import torch

    kind = torch.nn.MaxPool2d if len(layer.takes) == 3 else torch.nn.MaxPool1d  # noqa: PLR2004 - as above
    return [kind(2)]


def _norm(layer: Layer) -> list[Any]:
    import torch

    kinds = {1: torch.nn.BatchNorm1d, 2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm2d}
    return [kinds[len(layer.takes)](layer.takes[-1])]


def _activation(layer: Layer) -> list[Any]:
    from torch import nn

    return [{"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}[str(layer.setting)]()]


def _dense(layer: Layer) -> list[Any]:
    import torch

    return [torch.nn.Linear(layer.takes[-1], layer.gives[-1])]


def _dropout(layer: Layer) -> list[Any]:
    import torch

    return [torch.nn.Dropout(float(layer.setting))]


def _flatten(layer: Layer) -> list[Any]:  # noqa: ARG001 - one form for all
    import torch

    return [torch.nn.Flatten()]


_MODULES: Final[Mapping[str, Callable[[Layer], list[Any]]]] = {
    "channels": _channels,
    "convolution": _convolution,
    "pool": _pool,
    "norm": _norm,
    "activation": _activation,
    "dense": _dense,
    "dropout": _dropout,
    "flatten": _flatten,
}
