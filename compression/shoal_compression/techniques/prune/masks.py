"""Masks that keep some weights at 0 while a network is trained: what both kinds of unstructured pruning share."""

from collections.abc import Callable, Mapping
from typing import Final

import torch

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.technique import Progress
from shoal_compression.trainable.fitting import fit, training_samples
from shoal_compression.trainable.network import Network, repeatable
from shoal_compression.trainable.objective import objective_of
from shoal_compression.trainable.settings import Training

FEWEST: Final = 64
"""Smaller weights are left alone."""
SETTLED: Final = 0.5
"""The share of the training after which masks stay as they are."""
Mask = Callable[[Mapping[str, torch.Tensor], float], Mapping[str, torch.Tensor]]
"""Gives masks (0 or 1) by weight, for the weights and the share (0..1) of the final sparsity that has been reached."""


def masked_names(network: Network) -> list[str]:
    """Return the weights that are pruned: matrices and kernels that convolutions, Gemm and MatMul multiply by."""
    used = {
        name
        for node in network.proto.graph.node
        for name in node.input[:2]
        if node.op_type in {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    }
    return [n for n, one in network.weights.items() if n in used and one.ndim > 1 and one.numel() >= FEWEST]


def trained_under_masks(
    model: Model, data: Data, budget: Budget, progress: Progress, stage: str, training: Training, mask: Mask
) -> Model:
    """Return a model whose masked weights are 0, and whose others have been trained to make up for them.

    Raises:
        TechniqueError: It has no weights to prune, or operators that are not trained here.
    """
    with repeatable(budget.seed, budget.threads):
        network = Network(model, budget.accelerator)
        names = masked_names(network)
        if not names:
            found = f"no weights of at least {FEWEST} elements found that are multiplied by"
            raise TechniqueError(f"{stage}: {found}; leave this step out")
        masks = _Masks(network, names, mask)
        if training.epochs:
            samples = training_samples(data, training, budget.seed)
            objective = objective_of(network, model, samples, (model,), training, budget.threads)
            fit(network, model, objective, budget, progress, stage, before_step=masks.reach, settled_at=SETTLED)
        masks.reach(1.0)
        return network.model()


class _Masks:
    """The masks of a network, which follow the training until they are settled."""

    def __init__(self, network: Network, names: list[str], mask: Mask) -> None:
        self._weights = {name: network.weights[name] for name in names}
        self._mask = mask
        self._masks: dict[str, torch.Tensor] = {}
        self._is_settled = False
        network.transforms.update({name: self._through(name) for name in names})

    def _through(self, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda weight: weight * self._masks[name] if name in self._masks else weight

    def reach(self, share: float) -> None:
        """Choose the masks anew for this share of the training."""
        if not self._is_settled:
            with torch.no_grad():
                self._masks = dict(self._mask(self._weights, min(1.0, share / SETTLED)))
            self._is_settled = share >= SETTLED
