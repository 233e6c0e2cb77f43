"""Activations, arithmetic and reductions, by PyTorch."""

from collections.abc import Callable
from functools import reduce
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from shoal_compression.trainable.calling import OPERATORS, Call, operator

_OF_ONE: Final[dict[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "Dropout": lambda x: x,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}
_OF_TWO: Final[dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Pow": lambda x, y: torch.pow(x, y.to(x.dtype)),
    "Sub": torch.sub,
}


def _unary(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Call], torch.Tensor]:
    return lambda call: function(call.take(0))


def _binary(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[Call], torch.Tensor]:
    return lambda call: function(call.take(0), call.take(1).to(call.take(0).device))


OPERATORS.update({name: _unary(function) for name, function in _OF_ONE.items()})
OPERATORS.update({name: _binary(function) for name, function in _OF_TWO.items()})


@operator("Div")
def div(call: Call) -> torch.Tensor:
    """Divide; whole numbers towards zero."""
    x, y = call.take(0), call.take(1).to(call.take(0).device)
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@operator("Clip")
def clip(call: Call) -> torch.Tensor:
    """Bound below and above."""
    return torch.clamp(call.take(0), call.maybe(1), call.maybe(2))


@operator("LeakyRelu")
def leaky_relu(call: Call) -> torch.Tensor:
    """Let a share of what is negative through."""
    return F.leaky_relu(call.take(0), call.number("alpha", 0.01))


@operator("PRelu")
def prelu(call: Call) -> torch.Tensor:
    """Let a share of what is negative through, by a slope that is trained."""
    x = call.take(0)
    return torch.where(x < 0, x * call.take(1), x)


@operator("Elu")
def elu(call: Call) -> torch.Tensor:
    """Bend what is negative."""
    return F.elu(call.take(0), call.number("alpha", 1.0))


@operator("HardSigmoid")
def hard_sigmoid(call: Call) -> torch.Tensor:
    """Return max(0, min(1, alpha x + beta))."""
    return torch.clamp(call.number("alpha", 0.2) * call.take(0) + call.number("beta", 0.5), 0.0, 1.0)


@operator("Gelu")
def gelu(call: Call) -> torch.Tensor:
    """Gaussian error linear unit."""
    return F.gelu(call.take(0), approximate=call.text("approximate", "none"))


@operator("Softmax")
def softmax(call: Call) -> torch.Tensor:
    """Return probabilities along one axis."""
    return torch.softmax(call.take(0), call.integer("axis", -1))


@operator("LogSoftmax")
def log_softmax(call: Call) -> torch.Tensor:
    """Return logarithms of probabilities along one axis."""
    return torch.log_softmax(call.take(0), call.integer("axis", -1))


@operator("Sum")
def add_all(call: Call) -> torch.Tensor:
    """Add all inputs."""
    return reduce(torch.add, [call.take(place) for place in range(len(call.inputs))])


@operator("Min")
def least(call: Call) -> torch.Tensor:
    """Return the smallest of all inputs, place by place."""
    return reduce(torch.minimum, [call.take(place) for place in range(len(call.inputs))])


@operator("Max")
def most(call: Call) -> torch.Tensor:
    """Return the largest of all inputs, place by place."""
    return reduce(torch.maximum, [call.take(place) for place in range(len(call.inputs))])


@operator("Where")
def where(call: Call) -> torch.Tensor:
    """Choose place by place."""
    return torch.where(call.take(0), call.take(1), call.take(2))


def _reduction(function: Callable[[torch.Tensor, list[int], bool], torch.Tensor]) -> Callable[[Call], torch.Tensor]:
    def run(call: Call) -> torch.Tensor:
        x, axes = call.take(0), call.axes()
        if not axes and call.integer("noop_with_empty_axes", 0):
            return x
        return function(x, axes or list(range(x.ndim)), bool(call.integer("keepdims", 1)))

    return run


OPERATORS.update(
    {
        "ReduceMean": _reduction(lambda x, axes, keep: x.mean(dim=axes, keepdim=keep)),
        "ReduceSum": _reduction(lambda x, axes, keep: x.sum(dim=axes, keepdim=keep)),
        "ReduceMax": _reduction(lambda x, axes, keep: x.amax(dim=axes, keepdim=keep)),
        "ReduceMin": _reduction(lambda x, axes, keep: x.amin(dim=axes, keepdim=keep)),
        "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
        "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(dim=axes, keepdim=keep)),
    }
)
