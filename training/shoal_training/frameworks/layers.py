"""A network as a row of layers, whatever framework builds it: shapes and sizes are known before anything is built."""

from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

LayerKind = Literal["dense", "convolution", "norm", "activation", "pool", "flatten", "dropout", "channels"]
Shape = tuple[int, ...]
"""Of one sample; channels last."""


class Layer(NamedTuple):
    """One layer.

    Attributes:
        kind: What it does. `channels` gives a sample its axis of channels, or brings it to the end.
        takes: Shape of a sample before it.
        gives: Shape of a sample after it.
        parameters: Numbers that are learned.
        setting: A convolution's kernel, a dropout's rate, an activation's name, where channels were:
            `first`, `last` or `missing`.
    """

    kind: LayerKind
    takes: Shape
    gives: Shape
    parameters: int = 0
    setting: float | str = 0


@dataclass
class Chain:
    """Layers behind each other, from samples of a shape."""

    shape: Shape
    layers: tuple[Layer, ...] = ()

    def _add(self, kind: LayerKind, gives: Shape, parameters: int = 0, setting: float | str = 0) -> None:
        self.layers = (*self.layers, Layer(kind, self.shape, gives, parameters, setting))
        self.shape = gives

    def dense(self, units: int) -> None:
        """Add one in which each unit sees all numbers."""
        self._add("dense", (units,), (self.shape[-1] + 1) * units)

    def convolution(self, channels: int, kernel: int) -> None:
        """Add one that keeps the size."""
        taps = kernel ** (len(self.shape) - 1)
        self._add("convolution", (*self.shape[:-1], channels), (self.shape[-1] * taps + 1) * channels, kernel)

    def pool(self) -> None:
        """Halve each size by the largest of two; one that is 1 stays as it is, and so do all others."""
        if min(self.shape[:-1]) > 1:
            self._add("pool", (*(size // 2 for size in self.shape[:-1]), self.shape[-1]))

    def norm(self) -> None:
        """Bring each channel to mean 0 and deviation 1 over the batch, then to learned ones."""
        self._add("norm", self.shape, 2 * self.shape[-1])

    def activation(self, name: str) -> None:
        """Add what is not linear."""
        self._add("activation", self.shape, setting=name)

    def dropout(self, ratio: float) -> None:
        """Set a share of the numbers to 0 while it trains."""
        if ratio:
            self._add("dropout", self.shape, setting=ratio)

    def flatten(self) -> None:
        """Make one row of all numbers."""
        if len(self.shape) > 1:
            self._add("flatten", (prod(self.shape),))

    def channels(self, *, are_first: bool, are_missing: bool) -> None:
        """Give samples their axis of channels, at the end."""
        if are_missing:
            self._add("channels", (*self.shape, 1), setting="missing")
        elif are_first:
            self._add("channels", (*self.shape[1:], self.shape[0]), setting="first")
        else:
            self._add("channels", self.shape, setting="last")


def parameters_of(layers: tuple[Layer, ...]) -> int:
    """Return how many numbers are learned."""
    return sum(layer.parameters for layer in layers)


def activations_of(layers: tuple[Layer, ...]) -> int:
    """Return how many numbers all layers give for one sample."""
    return sum(prod(layer.gives) for layer in layers)
