"""Low-rank factorisation: a large matrix becomes a product of two small ones, where that is less to multiply."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.trainable.settings import Training

if TYPE_CHECKING:
    import onnx

    from shoal_numerics.tensors import Array


class _Factors(NamedTuple):
    first: "Array"
    """(rank, inputs)."""
    second: "Array"
    """(outputs, rank)."""


class Factorise(Technique):
    """Replace weights of Gemm, MatMul and Conv by two of lower rank, by singular values, and train them.

    A convolution becomes one of `rank` filters and one of 1 x 1. Weights stay as they are where two would take as many
    multiplications as one.
    """

    technique: Literal["factorise"] = "factorise"
    energy: float = Field(default=0.9, gt=0, le=1)
    """Share of the sum of squared singular values that the rank keeps."""
    ratio: float | None = Field(default=None, gt=0, lt=1)
    """Share of a weight's multiplications that are left; set, it decides in the place of `energy`."""
    least_elements: int = Field(default=1_024, ge=16)
    training: Training = Training()
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    trains: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model with its factors.

        Raises:
            TechniqueError: No weight has a rank low enough, or there are operators that are not trained here.
        """
        from shoal_compression.trainable.graph import read_graph
        from shoal_compression.trainable.network import check_operators
        from shoal_compression.trainable.retraining import retrained

        proto = read_graph(model)
        check_operators(proto)
        if not self._replace(proto):
            found = f"no weight of {self.least_elements} elements and more gets smaller by it"
            raise TechniqueError(f"applying {self.name}: {found}; set `energy` lower, or leave this step out")
        made = model.with_content(proto.SerializeToString(deterministic=True))
        return retrained(made, (model,), data, self.training, budget, progress, self.name)

    def _replace(self, proto: "onnx.ModelProto") -> int:
        """Change the graph, and return how many weights have been replaced."""
        from onnx import numpy_helper

        from shoal_compression.trainable.graph import weights_of, with_weights

        weights, nodes, count = weights_of(proto), [], 0
        for node in proto.graph.node:
            factors = self._factors(node, weights)
            if factors is None:
                nodes.append(node)
                continue
            count += 1
            name, made = node.input[1], _nodes(node, factors, weights[node.input[1]].shape)
            nodes.extend(made.nodes)
            for part, value in made.weights.items():
                proto.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), f"{name}.{part}"))
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del proto.graph.node[:]
        proto.graph.node.extend(copies)
        proto.CopyFrom(with_weights(proto, {}))
        return count

    def _factors(self, node: "onnx.NodeProto", weights: dict[str, "Array"]) -> _Factors | None:
        """Return the factors of a node's weight, None where it stays."""
        from shoal_compression.trainable.graph import attributes_of

        held: dict[str, Any] = attributes_of(node)
        if node.op_type not in {"Conv", "Gemm", "MatMul"} or node.input[1] not in weights:
            return None
        value = weights[node.input[1]]
        if value.dtype != np.float32 or value.size < self.least_elements:
            return None
        if node.op_type == "Conv":
            matrix = None if held.get("group", 1) != 1 else value.reshape(len(value), -1)
        elif value.ndim != 2 or held.get("transA", 0):  # noqa: PLR2004 - a matrix
            matrix = None
        else:
            matrix = value if held.get("transB", 0) else value.T
        return None if matrix is None else self._low_rank(matrix)

    def _low_rank(self, matrix: "Array") -> _Factors | None:
        left, singular, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
        outputs, inputs = matrix.shape
        if self.ratio is not None:
            rank = max(1, int(self.ratio * outputs * inputs / (outputs + inputs)))
        else:
            shares = np.cumsum(singular**2) / max(float((singular**2).sum()), 1e-30)
            rank = int(np.searchsorted(shares, self.energy - 1e-12)) + 1
        if rank * (outputs + inputs) >= outputs * inputs:
            return None
        root = np.sqrt(singular[:rank])
        return _Factors(root[:, None] * right[:rank], left[:, :rank] * root)


class _Made(NamedTuple):
    nodes: "list[onnx.NodeProto]"
    weights: dict[str, "Array"]


def _nodes(node: "onnx.NodeProto", factors: _Factors, shape: tuple[int, ...]) -> _Made:
    """Return two nodes in the place of one, and their weights by what is added to the name of the one's weight."""
    from onnx import helper

    from shoal_compression.trainable.graph import attributes_of

    x, weight = node.input[0], node.input[1]
    first, second, inner = f"{weight}.first", f"{weight}.second", f"{node.output[0]}.inner"
    held: dict[str, Any] = attributes_of(node)
    if node.op_type == "Conv":
        ones = [1] * (len(shape) - 2)
        before = helper.make_node("Conv", [x, first], [inner], f"{node.name}.first", None, None, None, **held)
        after = helper.make_node(
            "Conv", [inner, second, *node.input[2:]], list(node.output), node.name, kernel_shape=ones
        )
        rank = len(factors.first)
        kernels = factors.first.reshape(rank, *shape[1:]), factors.second.reshape(-1, rank, *ones)
        return _Made([before, after], dict(zip(("first", "second"), kernels, strict=True)))
    if node.op_type == "Gemm":
        before = helper.make_node("Gemm", [x, first], [inner], f"{node.name}.first")
        kept = {name: value for name, value in held.items() if name in {"alpha", "beta"}}
        after = helper.make_node(
            "Gemm", [inner, second, *node.input[2:]], list(node.output), node.name, None, None, None, **kept
        )
    else:
        before = helper.make_node("MatMul", [x, first], [inner], f"{node.name}.first")
        after = helper.make_node("MatMul", [inner, second], list(node.output), node.name)
    return _Made([before, after], {"first": factors.first.T, "second": factors.second.T})
