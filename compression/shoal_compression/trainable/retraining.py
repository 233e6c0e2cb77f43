"""Trains a model towards its teachers and labels: the part that every technique ends with."""

from collections.abc import Sequence

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.model import Model
from shoal_compression.technique import Progress
from shoal_compression.trainable.fitting import fit, training_samples
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.objective import objective_of
from shoal_compression.trainable.settings import Training


def retrained(
    model: Model,
    teachers: Sequence[Model],
    data: Data,
    training: Training,
    budget: Budget,
    progress: Progress,
    stage: str,
) -> Model:
    """Return the model with weights that answer more like the teachers and the labels; of no epochs, the model itself.

    Raises:
        DataError: There is nothing to learn from.
        TechniqueError: The graph has operators that are not trained here.
    """
    if training.epochs == 0:
        return model
    network = Network(model, budget.accelerator)
    samples = training_samples(data, training, budget.seed)
    objective = objective_of(network, model, samples, teachers, training, budget.threads)
    fit(network, model, objective, budget, progress, stage)
    return network.model()
