"""One call of an operator: its inputs, attributes and opset, and the table of operators that run by PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import torch

from shoal_compression.errors import TechniqueError

Values = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Call:
    """What an operator is run on."""

    name: str
    """Of the node, for errors."""
    inputs: tuple[torch.Tensor | None, ...]
    """None: an optional one that is left out."""
    attributes: Mapping[str, object]
    opset: int
    outputs: int = 1

    def take(self, place: int) -> torch.Tensor:
        """Return an input that must be there.

        Raises:
            TechniqueError: It is not.
        """
        found = self.maybe(place)
        if found is None:
            raise TechniqueError(f"running the node {self.name}: it has no input {place}; see that the graph is valid")
        return found

    def maybe(self, place: int) -> torch.Tensor | None:
        """Return an input, or None."""
        return self.inputs[place] if place < len(self.inputs) else None

    def integer(self, name: str, default: int) -> int:
        """Return an attribute of one whole number."""
        return int(cast("int", self.attributes.get(name, default)))

    def number(self, name: str, default: float) -> float:
        """Return an attribute of one number."""
        return float(cast("float", self.attributes.get(name, default)))

    def text(self, name: str, default: str) -> str:
        """Return an attribute of text."""
        return str(self.attributes.get(name, default))

    def integers(self, name: str, default: list[int]) -> list[int]:
        """Return an attribute of whole numbers."""
        return [int(one) for one in cast("list[int]", self.attributes.get(name, default))]

    def axes(self, place: int = 1) -> list[int] | None:
        """Return the axes, which are an input from some opset on and an attribute before; None if left out."""
        given = self.maybe(place)
        if given is not None:
            return [int(one) for one in given.reshape(-1).tolist()]
        return self.integers("axes", []) if "axes" in self.attributes else None


Operator = Callable[[Call], torch.Tensor | Values]
OPERATORS: Final[dict[str, Operator]] = {}
"""Operators of ONNX's own domain by name."""


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Put a function into the table under these names."""

    def note(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return note
