"""AdaRound: learns for each weight whether it is rounded up or down (Nagel et al. 2020, arXiv 2004.10568).

Layer by layer, on what the layer is given in the quantized graph and what it gives in the float one. Runs on a GPU
where the budget names one.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from shoal_compression.budget import Budget
from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.technique import Progress
from shoal_compression.techniques.quantize.observing import values_of
from shoal_compression.techniques.quantize.preparing import BIAS, LOWEST_OPSET, constants, consumers
from shoal_compression.techniques.quantize.qdq import Weight, replace_constant, weights_of
from shoal_numerics.tensors import Array

# ruff: noqa: ANN401 - messages of ONNX, tensors of PyTorch

STRETCH: Final = (1.2, -0.1)
"""The sigmoid is widened so that it reaches 0 and 1 (paper, equation 23)."""
BETAS: Final = (20.0, 2.0)
"""The exponent at the beginning, when weights may lie between, and at the end, when they may not."""
WARM_UP: Final = 0.2
RATE: Final = 2e-2
BATCH: Final = 32
MOST_BYTES: Final = 256 << 20
"""Of activations that one layer learns from."""


@dataclass(frozen=True)
class Steps:
    """How long each layer learns."""

    steps: int
    pressure: float
    """Weight of the term that pushes towards 0 or 1, against an error that is 1 for rounding to nearest."""


def learn_rounding(
    proto: Any, made: Any, model: Model, samples: Samples, steps: Steps, budget: Budget, progress: Progress
) -> int:
    """Change the weights of `made`, which is `proto` quantized, in place; returns how many layers came closer.

    A layer that does not keeps its weights rounded to nearest, as do those that the budget leaves no time for, and
    those that have their weights in common.
    """
    import torch

    torch.set_num_threads(budget.threads)
    torch.manual_seed(budget.seed)
    nodes = {node.name: node for node in proto.graph.node}
    found = weights_of(made)
    uses = Counter(weight.name for weight in found)
    kinds = {"Conv", "Gemm", "MatMul"}
    layers = [one for one in found if nodes[one.node].op_type in kinds and uses[one.name] == 1]
    better = 0
    for done, layer in enumerate(layers):
        progress("learning to round", done, len(layers))
        if budget.left_s <= 0:
            break
        node, quantized = nodes[layer.node], next(one for one in made.graph.node if one.name == layer.node)
        given = values_of(made, model, samples, quantized.input[0], budget.threads)
        wanted = values_of(proto, model, samples, node.output[0], budget.threads)
        rows = max(1, min(len(given), MOST_BYTES // max(1, (given.nbytes + wanted.nbytes) // len(given))))
        learned = _Layer(node, proto, layer, budget).learn(given[:rows], wanted[:rows], steps)
        if learned is not None:
            replace_constant(made, layer.name, learned)
            better += 1
    progress("learning to round", len(layers), len(layers))
    return better


class _Layer:
    """One layer, as PyTorch computes it with any weights."""

    def __init__(self, node: Any, proto: Any, weight: Weight, budget: Budget) -> None:
        import torch
        from onnx import numpy_helper

        from shoal_compression.trainable.graph import attributes_of

        self.node, self.weight = node, weight
        self.device = torch.device(budget.accelerator)
        self.random = np.random.default_rng(budget.seed)
        self.attributes = attributes_of(node)
        held = constants(proto)
        self.floats = self._tensor(numpy_helper.to_array(held[node.input[1]]))
        has_bias = len(node.input) > BIAS and node.input[BIAS] in held
        self.bias = self._tensor(numpy_helper.to_array(held[node.input[BIAS]])) if has_bias else None
        takers = consumers(proto).get(node.output[0], [])
        self.has_relu = len(takers) == 1 and getattr(takers[0], "op_type", "") == "Relu"

    def _tensor(self, array: Array) -> Any:
        import torch

        return torch.from_numpy(np.array(array, np.float32)).to(self.device)

    def learn(self, given: Array, wanted: Array, steps: Steps) -> Array | None:
        """Return the weight's new integers, in its shape and datatype, or None where rounding to nearest is as good.

        Args:
            given: What the layer gets in the quantized graph, (rows, …) float32.
            wanted: What it answers in the float graph, (rows, …) float32.
            steps: How it learns.
        """
        import torch

        x, y = self._tensor(given), self._tensor(wanted)
        y = torch.relu(y) if self.has_relu else y
        scale, zero = (self._tensor(self.weight.spread(one)) for one in (self.weight.scale, self.weight.zero))
        low, high = int(self.weight.values.min()), int(self.weight.values.max())
        floor = torch.floor(self.floats / scale)
        nearest = self._tensor(self.weight.values)
        before = self._error(x, y, (nearest - zero) * scale)
        if before <= 0:
            return None
        rest = ((self.floats / scale - floor - STRETCH[1]) / STRETCH[0]).clamp(1e-3, 1 - 1e-3)
        variable = torch.log(rest / (1 - rest)).requires_grad_()
        adam = _Adam(variable)
        for step in range(steps.steps):
            rows = self.random.integers(0, len(x), min(BATCH, len(x)))
            up = _up(variable)
            values = ((floor + up + zero).clamp(low, high) - zero) * scale
            loss = ((self._run(x[rows], values) - y[rows]) ** 2).mean() / before
            done = step / steps.steps
            if done > WARM_UP:
                beta = BETAS[1] + (BETAS[0] - BETAS[1]) * (1 + np.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2
                loss = loss + steps.pressure * (1 - (2 * up - 1).abs() ** beta).mean()
            adam.step(*torch.autograd.grad(loss, variable))
        with torch.no_grad():
            integers = (floor + (variable >= 0) + zero).clamp(low, high)
            after = self._error(x, y, (integers - zero) * scale)
        return np.asarray(integers.cpu().numpy().astype(self.weight.values.dtype)) if after < before else None

    def _error(self, x: Any, y: Any, values: Any) -> float:
        import torch

        with torch.no_grad():
            parts = [
                ((self._run(a, values) - b) ** 2).sum() for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True)
            ]
            return float(sum(parts) / y.numel())

    def _run(self, x: Any, values: Any) -> Any:
        import torch

        from shoal_compression.trainable import layers
        from shoal_compression.trainable.calling import Call

        run: Any = {"Conv": layers.conv, "Gemm": layers.gemm, "MatMul": layers.matmul}[self.node.op_type]
        y = run(Call(self.node.name, (x, values, self.bias), self.attributes, LOWEST_OPSET))
        return torch.relu(y) if self.has_relu else y


class _Adam:
    """Adam (Kingma and Ba 2015) for one tensor: PyTorch's own imports its compiler first, which takes seconds."""

    def __init__(self, variable: Any) -> None:
        self.variable = variable
        self.mean, self.square, self.steps = 0.0 * variable.detach(), 0.0 * variable.detach(), 0

    def step(self, gradient: Any) -> None:
        """Change the tensor in place."""
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean, square = self.mean / (1 - 0.9**self.steps), self.square / (1 - 0.999**self.steps)
        self.variable.data -= RATE * mean / (square.sqrt() + 1e-8)


def _up(variable: Any) -> Any:
    import torch

    return (torch.sigmoid(variable) * STRETCH[0] + STRETCH[1]).clamp(0, 1)
