"""A model's trainable weights as a list of arrays and as a safetensors file with the keys `000`, `001` and so on.

The order is that of the model's layers; the trainer's `get_weights` and `set_weights` use the same keys.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_training.errors import WeightsError

Weights = list[npt.NDArray[np.float32]]


def weight_key(position: int) -> str:
    """Return the name of the weight at `position`, counted from 0."""
    return f"{position:03d}"


def write_weights(path: Path, weights: Sequence[npt.NDArray[np.float32]]) -> None:
    """Write the weights as safetensors."""
    from safetensors.numpy import save_file

    save_file({weight_key(i): np.ascontiguousarray(w, np.float32) for i, w in enumerate(weights)}, path)


def read_weights(path: Path) -> Weights:
    """Read what `write_weights` wrote, in order.

    Raises:
        WeightsError: The file is no safetensors file, or its keys are not `000`, `001`, … without a gap.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"reading weights from {path}: {error}; expected a safetensors file") from error
    expected = [weight_key(position) for position in range(len(tensors))]
    if sorted(tensors) != expected:
        raise WeightsError(f"reading weights from {path}: keys {sorted(tensors)} found, expected {expected}")
    return [tensors[key] for key in expected]


def set_weights(model: Any, weights: Sequence[npt.NDArray[np.float32]]) -> None:  # noqa: ANN401  (a keras.Model)
    """Put `weights` into a Keras model's trainable variables.

    Raises:
        WeightsError: Their number, a shape or a datatype differs, or a value is not finite.
    """
    variables = model.trainable_variables
    if len(weights) != len(variables):
        raise WeightsError(f"setting weights: {len(weights)} arrays found, the model has {len(variables)}")
    for position, (weight, variable) in enumerate(zip(weights, variables, strict=True)):
        where = f"setting weight {weight_key(position)} ({variable.path})"
        if weight.shape != tuple(variable.shape) or weight.dtype != np.float32:
            found = f"{weight.dtype} of shape {weight.shape}"
            raise WeightsError(f"{where}: {found} found, expected float32 of shape {tuple(variable.shape)}")
        if not np.isfinite(weight).all():
            raise WeightsError(f"{where}: NaN or infinity found; the training that made it has diverged")
    for weight, variable in zip(weights, variables, strict=True):
        variable.assign(weight)


def blend(
    parent: Sequence[npt.NDArray[np.float32]], new: Sequence[npt.NDArray[np.float32]], parent_share: float
) -> Weights:
    """Return the weights on the straight line from `new` (share 0) to `parent` (share 1).

    Keeps most of what fine-tuning learned and most of what it would forget (Wortsman et al., "Robust fine-tuning of
    zero-shot models", CVPR 2022).

    Raises:
        WeightsError: The share is not within 0..1, or the two differ in number or shapes.
    """
    if not 0.0 <= parent_share <= 1.0:
        raise WeightsError(f"blending weights: parent share {parent_share} found, expected 0 to 1")
    if [w.shape for w in parent] != [w.shape for w in new]:
        found, expected = [w.shape for w in new], [w.shape for w in parent]
        raise WeightsError(f"blending weights: new shapes {found} found, the parent has {expected}")
    share = np.float32(parent_share)
    return [n + share * (p - n) for p, n in zip(parent, new, strict=True)]


def get_weights(model: Any) -> Weights:  # noqa: ANN401  (a keras.Model)
    """Return copies of a Keras model's trainable variables, in order."""
    return [variable.value.numpy().astype(np.float32) for variable in model.trainable_variables]
