"""Samples as PyTorch takes them: batches of a model that takes batches, else one sample after the other."""

from collections.abc import Sequence

import numpy as np
import torch

from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.trainable.network import Network
from shoal_numerics.tensors import Array


def run_rows(
    network: Network, model: Model, samples: Samples, rows: Array, taps: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Return the tensors named by `taps`, (k, ...) of the samples at `rows`, (k,) int64."""
    if model.is_batched:
        made: dict[str, torch.Tensor] = network(_feeds(samples, rows), taps)
        return made
    single = [network(_feeds(samples, row), taps) for row in rows]
    return {name: torch.stack([one[name] for one in single]) for name in taps}


def _feeds(samples: Samples, rows: Array) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array[rows])) for name, array in samples.inputs.items()}
