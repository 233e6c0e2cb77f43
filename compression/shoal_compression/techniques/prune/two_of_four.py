"""2:4 pruning: two of every four weights along the inputs become 0, which some GPUs multiply twice as fast."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.trainable.settings import Training

if TYPE_CHECKING:
    import torch

    from shoal_compression.trainable.network import Network

_FOUR = 4


class PruneTwoOfFour(Technique):
    """Keep the two largest of every four weights along the inputs (Mishra et al. 2021, arXiv 2104.08378).

    Weights whose inputs are no multiple of 4 stay dense. TensorRT uses the pattern on NVIDIA's GPUs from Ampere on; a
    CPU gains nothing.
    """

    technique: Literal["prune-2-4"] = "prune-2-4"
    training: Training = Training()
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    trains: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the sparse model.

        Raises:
            TechniqueError: No weight has a multiple of four inputs, or there are operators that are not trained here.
        """
        from shoal_compression.techniques.prune.masks import masked_names, trained_under_masks
        from shoal_compression.trainable.network import Network

        network = Network(model)
        axes = {name: axis for name in masked_names(network) if (axis := _input_axis(network, name)) is not None}
        if not axes:
            found = "no weight has a multiple of four inputs"
            raise TechniqueError(f"applying {self.name}: {found}; use prune-magnitude or prune-channels")

        def masks(weights: Mapping[str, "torch.Tensor"], _reached: float) -> dict[str, "torch.Tensor"]:
            return {name: _mask(one, axes[name]) for name, one in weights.items() if name in axes}

        return trained_under_masks(model, data, budget, progress, self.name, self.training, masks)


def _input_axis(network: "Network", name: str) -> int | None:
    """Return the axis of a weight's inputs, None if their number is no multiple of 4."""
    from shoal_compression.trainable.graph import attributes_of, consumers_of

    node, _ = consumers_of(network.proto)[name][0]
    weight = network.weights[name]
    if node.op_type == "Conv":
        axis = 1
    elif node.op_type == "Gemm":
        axis = 1 if attributes_of(node).get("transB", 0) else 0
    elif node.op_type == "MatMul" and node.input[1] == name:
        axis = weight.ndim - 2
    else:
        return None
    return axis if weight.shape[axis] % _FOUR == 0 else None


def _mask(weight: "torch.Tensor", axis: int) -> "torch.Tensor":
    import torch

    turned = weight.abs().movedim(axis, -1)
    fours = turned.reshape(*turned.shape[:-1], -1, _FOUR)
    largest = fours.topk(2, dim=-1).indices
    kept = torch.zeros_like(fours).scatter_(-1, largest, 1.0)
    return kept.reshape(turned.shape).movedim(-1, axis)
