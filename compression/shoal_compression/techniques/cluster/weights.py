"""Clustered weights: each weight is one of few values, and the file holds which one."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

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

MOST_HALF = 16
"""As many values fit half a byte, which ONNX knows from opset 21 on."""
_ROUNDS = 30


class ClusterWeights(Technique):
    """Let each weight be one of `clusters` values, found by k-means (Han, Mao and Dally 2016) and then trained.

    The file holds the values and which one each weight is: a quarter of float32's size, an eighth with 16 clusters or
    less. ONNX Runtime puts the weights together when it loads the file, so that latency and memory stay those of
    float32.
    """

    technique: Literal["cluster-weights"] = "cluster-weights"
    clusters: int = Field(default=16, ge=2, le=256)
    least_elements: int = Field(default=256, ge=16)
    """Smaller weights stay as they are."""
    training: Training = Training(epochs=3)
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    trains: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model with its weights as places in tables.

        Raises:
            TechniqueError: It has no weight that is large enough, or operators that are not trained here.
        """
        from shoal_compression.techniques.prune.masks import masked_names
        from shoal_compression.trainable.graph import raise_opset, read_graph, weights_of
        from shoal_compression.trainable.network import Network
        from shoal_compression.trainable.retraining import retrained

        names = [name for name, one in weights_of(read_graph(model)).items() if one.size >= self.least_elements]
        multiplied = set(masked_names(Network(model)))
        names = [name for name in names if name in multiplied]
        if not names:
            found = f"no weight of at least {self.least_elements} elements found"
            raise TechniqueError(f"applying {self.name}: {found}; set `least_elements` lower, or leave this step out")
        proto = read_graph(model)
        if self.clusters <= MOST_HALF:
            proto = raise_opset(proto, 21)
            proto.ir_version = max(proto.ir_version, 10)
        self._replace(proto, names, progress)
        made = model.with_content(
            proto.SerializeToString(deterministic=True), precision=f"{self.clusters} shared weights"
        )
        return retrained(made, (model,), data, self.training, budget, progress, self.name)

    def _replace(self, proto: "onnx.ModelProto", names: list[str], progress: Progress) -> None:
        """Put a table, places and the nodes that join them where each weight was."""
        from onnx import TensorProto, helper, numpy_helper

        from shoal_compression.trainable.graph import weights_of

        weights, nodes = weights_of(proto), []
        kept = [one for one in weights if one not in names]
        tensors: list[Any] = [numpy_helper.from_array(weights[name], name) for name in kept]
        for done, name in enumerate(names):
            progress(self.name, done, len(names))
            centres, places = k_means(weights[name].reshape(-1), self.clusters)
            kind = TensorProto.UINT4 if self.clusters <= MOST_HALF else TensorProto.UINT8
            shape = weights[name].shape
            whole = numpy_helper.from_array(places.astype(np.uint8).reshape(shape), f"{name}.places")
            half = kind == TensorProto.UINT4
            tensors.append(helper.make_tensor(f"{name}.places", kind, shape, places) if half else whole)
            tensors.append(numpy_helper.from_array(centres.astype(np.float32), f"{name}.values"))
            nodes += [
                helper.make_node("Cast", [f"{name}.places"], [f"{name}.at"], f"{name}.cast", to=TensorProto.INT32),
                helper.make_node("Gather", [f"{name}.values", f"{name}.at"], [name], f"{name}.gather"),
            ]
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(tensors)
        rest = list(proto.graph.node)
        del proto.graph.node[:]
        proto.graph.node.extend([*nodes, *rest])


def k_means(values: "Array", count: int) -> tuple["Array", "Array"]:
    """Return (count,) float64 centres in rising order and (n,) int64 which one is nearest to each value.

    Lloyd's rounds from centres that are evenly spaced between the ends (Han, Mao and Dally 2016, section 3.2).
    """
    found = values.astype(np.float64)
    centres = np.linspace(found.min(), found.max(), count)
    for _ in range(_ROUNDS):
        places = np.searchsorted((centres[1:] + centres[:-1]) / 2, found)
        sums, sizes = np.bincount(places, found, count), np.bincount(places, minlength=count)
        moved = np.sort(np.where(sizes > 0, sums / np.maximum(sizes, 1), centres))
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres, np.searchsorted((centres[1:] + centres[:-1]) / 2, found)
