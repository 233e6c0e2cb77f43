"""What both ways to prune Keras share: tfmot's wrappers while training, and zeros exactly where they are asked."""

from collections.abc import Callable
from typing import Any

import numpy as np

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.keras_file import with_arrays
from shoal_compression.model import Model
from shoal_compression.technique import Progress
from shoal_compression.tensorflow_runtime import load_tfmot
from shoal_compression.tf_keras_training import FineTuning
from shoal_compression.tf_keras_twin import arrays_of
from shoal_compression.tf_keras_wrapping import Wrapping, trained
from shoal_numerics.tensors import Array

GROUP = 4
"""Neighbours of which two are zero in 2:4."""


def pruned(
    model: Model,
    data: Data,
    settings: FineTuning,
    chosen: tuple[str, ...],
    pruning: dict[str, Any],
    exactly: Callable[[Array], Array],
    budget: Budget,
    progress: Progress,
) -> Model:
    """Return the Keras model with the kernels of the chosen layers pruned while it trained, then as `exactly` says.

    Raises:
        TechniqueError: The network can not be built in tf_keras.
        DataError: The labels do not fit the model.
    """
    prune = load_tfmot().sparsity.keras

    def begin(network: Any) -> Callable[[], None]:  # noqa: ANN401 - tf_keras has no types
        update = prune.UpdatePruningStep()
        update.set_model(network)
        update.on_train_begin()
        return lambda: update.on_epoch_end(0)  # the last step has moved what was zero

    wrapping = Wrapping(lambda layer: prune.prune_low_magnitude(layer, **pruning), prune.strip_pruning, begin)
    arrays = arrays_of(trained(model, data, settings, chosen, wrapping, budget, progress))
    for name in chosen:
        arrays[name][0] = exactly(arrays[name][0])
    return with_arrays(model, arrays, model.precision)


def smallest_to_zero(kernel: Array, sparsity: float) -> Array:
    """Return a kernel with its smallest elements set to zero until that share (0..1) of them is zero."""
    count = int(np.floor(sparsity * kernel.size))
    made = kernel.copy()
    if count:
        made.flat[np.argsort(np.abs(kernel).reshape(-1), kind="stable")[:count]] = 0
    return made


def two_of_four_to_zero(kernel: Array) -> Array:
    """Return a kernel with the two smallest of each four neighbours along its input channels set to zero.

    Shapes are (…, in, out) as Keras has them; a kernel whose inputs are no multiple of four is left as it is.
    """
    if kernel.shape[-2] % 4:
        return kernel
    groups = np.moveaxis(kernel, -2, -1).reshape(-1, 4)
    places = np.argsort(np.abs(groups), axis=1, kind="stable")[:, :2]
    made = groups.copy()
    np.put_along_axis(made, places, 0, axis=1)
    moved = np.moveaxis(kernel, -2, -1).shape
    return np.ascontiguousarray(np.moveaxis(made.reshape(moved), -1, -2))
