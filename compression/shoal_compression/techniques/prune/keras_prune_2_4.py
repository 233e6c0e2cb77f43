"""2:4 sparsity of Keras models: two zeros in each four neighbours, the pattern that sparse kernels compute with."""

from typing import ClassVar, Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.keras_file import open_keras
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.prune.keras_sparsity import GROUP, pruned, two_of_four_to_zero
from shoal_compression.tensorflow_runtime import load_tfmot
from shoal_compression.tf_keras_training import FineTuning
from shoal_compression.tf_keras_wrapping import kernel_layers

RANKS = (2, 4)
"""Of kernels that tfmot can prune so: dense, and convolutions of images."""


class KerasPrune24(Technique):
    """Set two of each four neighbours along the input channels to zero, and train what is left (Mishra et al. 2021).

    Layers whose input channels are no multiple of four stay dense.
    """

    technique: Literal["keras-prune-2-4"] = "keras-prune-2-4"
    skip: tuple[str, ...] = ()
    """Layers that stay dense, by name."""
    training: FineTuning = FineTuning()
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    trains: ClassVar[bool] = True
    needs_train: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "keras")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the pruned Keras model.

        Raises:
            TechniqueError: The network can not be built in tf_keras, or no layer has four input channels.
            DataError: The labels do not fit the model.
        """
        network = open_keras(model)
        shapes = {name: network.get_layer(name).kernel.shape for name in kernel_layers(model, self.skip)}
        chosen = tuple(name for name, at in shapes.items() if len(at) in RANKS and at[-2] % GROUP == 0)
        if not chosen:
            found = f"kernels { ({name: tuple(shape) for name, shape in shapes.items()}) } found"
            raise TechniqueError(f"pruning 2:4: {found}, expected input channels in fours; use keras-prune-magnitude")
        prune = load_tfmot().sparsity.keras
        pruning = {"pruning_schedule": prune.ConstantSparsity(0.5, 0, frequency=1), "sparsity_m_by_n": (2, GROUP)}
        return pruned(model, data, self.training, chosen, pruning, two_of_four_to_zero, budget, progress)
