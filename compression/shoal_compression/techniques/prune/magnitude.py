"""Magnitude pruning: the smallest weights become 0, more and more of them while the network is trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.trainable.settings import Training

if TYPE_CHECKING:
    import torch


class PruneMagnitude(Technique):
    """Set the smallest weights to 0, by a sparsity that rises as `1 - (1 - t)^power` (Zhu and Gupta 2017).

    The file keeps its size, and compresses better on its way; latency stays as it is: runtimes multiply by 0 as well.
    """

    technique: Literal["prune-magnitude"] = "prune-magnitude"
    sparsity: float = Field(default=0.8, gt=0, lt=1)
    """Share of the weights that are 0 in the end."""
    power: float = Field(default=3.0, gt=0, le=10)
    scope: Literal["layer", "network"] = "layer"
    """Whether every weight has this sparsity, or all together."""
    training: Training = Training(epochs=8)
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    trains: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the sparse model.

        Raises:
            TechniqueError: It has no weights to prune, or operators that are not trained here.
        """
        from shoal_compression.techniques.prune.masks import trained_under_masks

        return trained_under_masks(model, data, budget, progress, self.name, self.training, self._masks)

    def _masks(self, weights: Mapping[str, "torch.Tensor"], reached: float) -> dict[str, "torch.Tensor"]:
        import torch

        sparsity = self.sparsity * (1 - (1 - reached) ** self.power)
        if self.scope == "network":
            every = torch.cat([one.abs().reshape(-1) for one in weights.values()])
            bound = _bound(every, sparsity)
            return {name: (one.abs() > bound).to(one.dtype) for name, one in weights.items()}
        return {
            name: (one.abs() > _bound(one.abs().reshape(-1), sparsity)).to(one.dtype) for name, one in weights.items()
        }


def _bound(sizes: "torch.Tensor", sparsity: float) -> float:
    """Return the size up to which so large a share lies; below all of them for none."""
    count = round(sparsity * sizes.numel())
    return float(sizes.kthvalue(count).values) if count else -1.0
