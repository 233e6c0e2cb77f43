"""Magnitude pruning of Keras models: zeros that a compressed transfer saves, at the latency of the dense model."""

from typing import ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.prune.keras_sparsity import pruned, smallest_to_zero
from shoal_compression.tensorflow_runtime import load_tfmot
from shoal_compression.tf_keras_training import FineTuning
from shoal_compression.tf_keras_wrapping import kernel_layers

UPDATES = 50
"""How often the zeros are chosen anew on the way."""


class KerasPruneMagnitude(Technique):
    """Set the smallest weights of each kernel to zero while training, by polynomial decay (Zhu and Gupta 2017).

    The file is as large as before and as fast: what gets smaller is what is sent, as deltas and blobs are compressed.
    """

    technique: Literal["keras-prune-magnitude"] = "keras-prune-magnitude"
    sparsity: float = Field(default=0.8, gt=0, lt=1)
    """Share of zeros in each kernel at the end."""
    initial_sparsity: float = Field(default=0.0, ge=0, lt=1)
    ramp: float = Field(default=0.7, gt=0, le=1)
    """Share of the steps in which the zeros grow; in those that are left the network recovers."""
    skip: tuple[str, ...] = ()
    """Layers that stay dense, by name."""
    training: FineTuning = FineTuning()
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    trains: ClassVar[bool] = True
    needs_train: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "keras")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the pruned Keras model; where the time ends before the ramp does, the rest is pruned at once.

        Raises:
            TechniqueError: The network can not be built in tf_keras, or no layer is left to prune.
            DataError: The labels do not fit the model.
        """
        chosen = kernel_layers(model, self.skip)
        schedule = self._schedule(self.training.steps(data.train) if data.train else 1)
        return pruned(
            model,
            data,
            self.training,
            chosen,
            {"pruning_schedule": schedule},
            lambda kernel: smallest_to_zero(kernel, self.sparsity),
            budget,
            progress,
        )

    def _schedule(self, steps: int) -> object:
        frequency = max(1, int(steps * self.ramp) // UPDATES)
        end = max(1, int(steps * self.ramp) // frequency) * frequency
        decay = load_tfmot().sparsity.keras.PolynomialDecay
        made: object = decay(self.initial_sparsity, self.sparsity, 0, end, frequency=frequency)
        return made
