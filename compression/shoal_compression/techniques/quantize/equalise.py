"""Cross-layer equalisation: gives the channels between two layers ranges that one scale suits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.comparing import agreement
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.quantize.preparing import constants, consumers, prepared, weighted_nodes

# ruff: noqa: ANN401 - messages of ONNX
Floats = npt.NDArray[np.float32]
PASSING = frozenset({"Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Squeeze", "Unsqueeze", "Flatten"})
LEAST_RANGE = 1e-8
"""Of a channel; one below it is dead, and stays as it is."""


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing but a ReLU or a pooling between them."""

    first: Any
    second: Any


class Equalise(Technique):
    """Rescale channels of each pair of layers, so that what the first multiplies the second divides.

    What the network computes stays the same, as a ReLU lets a positive factor pass (Nagel et al. 2019, arXiv
    1906.04721, section 4.1). Batch norm is folded before. A ReLU6 lets none pass: it becomes a ReLU where the samples
    show that the model's answers stay, and otherwise its pair is left out. Helps where the step after it quantizes.
    """

    technique: Literal["equalise"] = "equalise"
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    sweeps: int = Field(default=20, ge=1, le=1000)
    """Over all pairs, as each moves its neighbours."""
    least_agreement: float = Field(default=0.995, ge=0, le=1)
    """Of the answers without a ReLU6's upper end with those with it."""

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the rescaled model.

        Raises:
            TechniqueError: No two layers of the model follow each other so.
        """
        proto = prepared(model, f"applying {self.name}")
        opened = self._without_ceilings(proto, model, data, budget)
        pairs = pairs_of(opened)
        if not pairs:
            found = f"no two layers with at most a ReLU between them among {len(weighted_nodes(proto))} layers"
            raise TechniqueError(f"applying {self.name}: {found}; leave this step out")
        held = _Weights(opened)
        for done in range(self.sweeps):
            progress(self.name, done, self.sweeps)
            for pair in pairs:
                _equalise(pair, held)
        held.write()
        progress(self.name, self.sweeps, self.sweeps)
        return model.with_content(opened.SerializeToString())

    def _without_ceilings(self, proto: Any, model: Model, data: Data, budget: Budget) -> Any:
        """Return the graph with ReLU in place of Clip from 0, if the answers stay."""
        opened = ceilings_opened(proto)
        if opened == proto:
            return proto
        name = model.outputs[0].name
        was, now = (
            outputs_of(model.with_content(one.SerializeToString()), data.calibration, budget.threads)[name]
            for one in (proto, opened)
        )
        return opened if agreement(was, now) >= self.least_agreement else proto


def ceilings_opened(proto: Any) -> Any:
    """Return the graph with ReLU in place of every Clip from 0."""
    import onnx

    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    for node in opened.graph.node:
        if _is_ceiling(node, constants(opened)):
            node.op_type = "Relu"
            del node.input[1:]
    return opened


def rescale(proto: Any, pair: Pair, factors: Callable[[int], Floats]) -> None:
    """Multiply the channels between two layers by factors, of which (channels,) are asked for, in place."""
    held = _Weights(proto)
    first, second = held.channels(pair.first, of_input=False), held.channels(pair.second, of_input=True)
    _scale(pair, held, first, second, np.asarray(factors(len(first)), np.float32))
    held.write()


def _is_ceiling(node: Any, held: dict[str, Any]) -> bool:
    from onnx import numpy_helper

    if node.op_type != "Clip" or len(node.input) < 2 or node.input[1] not in held:  # noqa: PLR2004 - value and least
        return False
    return bool((numpy_helper.to_array(held[node.input[1]]) == 0).all())


def pairs_of(proto: Any) -> list[Pair]:
    """Return the pairs of layers whose channels can be rescaled against each other."""
    takers, layers = consumers(proto), {node.name: node for node in weighted_nodes(proto)}
    shared = _used_twice(proto)
    pairs = []
    for first in layers.values():
        if first.op_type not in {"Conv", "Gemm"} or shared & {*first.input[1:]}:
            continue
        second = layers.get(_next(first, takers))
        if second is None or second.op_type not in {"Conv", "Gemm"} or shared & {second.input[1]}:
            continue
        if _outputs(first, proto) == _inputs(second, proto):
            pairs.append(Pair(first, second))
    return pairs


def _next(node: Any, takers: dict[str, list[Any]]) -> str:
    """Return the name of the one node that a layer's output goes to, through what lets a factor of a channel pass."""
    while True:
        at = takers.get(node.output[0], [])
        if len(at) != 1 or not hasattr(at[0], "op_type"):
            return ""
        [node] = at
        if node.op_type not in PASSING:
            return str(node.name)


def _used_twice(proto: Any) -> set[str]:
    names = [name for node in proto.graph.node for name in node.input]
    return {name for name in names if names.count(name) > 1}


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(part.i) for part in node.attribute if part.name == name), default)


def _outputs(node: Any, proto: Any) -> int:
    dims = constants(proto)[node.input[1]].dims
    return int(dims[0 if node.op_type == "Conv" or _attribute(node, "transB", 0) else 1])


def _inputs(node: Any, proto: Any) -> int:
    """Return the channels that a layer takes; 0 of a convolution in groups that is not depthwise."""
    dims = constants(proto)[node.input[1]].dims
    if node.op_type == "Gemm":
        return int(dims[1 if _attribute(node, "transB", 0) else 0])
    groups = _attribute(node, "group", 1)
    if groups == 1:
        return int(dims[1])
    return groups if groups == dims[0] and dims[1] == 1 else 0


class _Weights:
    """Weights of a graph as arrays that can be changed, and written back."""

    def __init__(self, proto: Any) -> None:
        from onnx import numpy_helper

        self._tensors = constants(proto)
        self._arrays: dict[str, Floats] = {}
        self._read = numpy_helper.to_array
        self._make = numpy_helper.from_array

    def channels(self, node: Any, *, of_input: bool) -> Floats:
        """Return a view (channels, …) of a layer's weight."""
        weight = self.array(node.input[1])
        if node.op_type == "Gemm":
            is_first = bool(_attribute(node, "transB", 0)) != of_input
            return weight if is_first else weight.T
        if not of_input or _attribute(node, "group", 1) > 1:
            return weight
        return np.swapaxes(weight, 0, 1)

    def array(self, name: str) -> Floats:
        """Return a weight."""
        if name not in self._arrays:
            self._arrays[name] = self._read(self._tensors[name]).astype(np.float32)
        return self._arrays[name]

    def write(self) -> None:
        """Put them into the graph."""
        for name, array in self._arrays.items():
            self._tensors[name].CopyFrom(self._make(np.ascontiguousarray(array), name))


def _equalise(pair: Pair, held: _Weights) -> None:
    first, second = held.channels(pair.first, of_input=False), held.channels(pair.second, of_input=True)
    ranges = [np.abs(part.reshape(len(part), -1)).max(axis=1) for part in (first, second)]
    alive = (ranges[0] > LEAST_RANGE) & (ranges[1] > LEAST_RANGE)
    factor = np.ones(len(first), np.float32)
    factor[alive] = np.sqrt(ranges[1][alive] / ranges[0][alive])
    _scale(pair, held, first, second, factor)


def _scale(pair: Pair, held: _Weights, first: Floats, second: Floats, factor: Floats) -> None:
    first *= factor.reshape(-1, *[1] * (first.ndim - 1))
    second /= factor.reshape(-1, *[1] * (second.ndim - 1))
    if len(pair.first.input) > 2 and pair.first.input[2]:  # noqa: PLR2004 - the bias is third
        held.array(pair.first.input[2])[...] *= factor
