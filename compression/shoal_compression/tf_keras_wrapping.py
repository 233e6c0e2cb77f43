"""Trains a tf_keras network while its layers are wrapped, as tensorflow-model-optimization prunes and clusters.

What is left to the wrappers is the way there; how far it went is seen to afterwards, so that a training that the budget
cut short still gives what was asked.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.keras_file import config_of
from shoal_compression.model import Model
from shoal_compression.quieting import quiet
from shoal_compression.technique import Progress
from shoal_compression.tensorflow_runtime import load_tf_keras
from shoal_compression.tf_keras_training import FineTuning, fine_tune
from shoal_compression.tf_keras_twin import twin_of

WITH_KERNEL: Final = ("Conv1D", "Conv2D", "Conv3D", "Dense")
"""Layers whose first weight is worth pruning or clustering: a depthwise kernel or a bias is small, and sensitive."""


class Wrapping(NamedTuple):
    """How layers are changed for the training, and changed back."""

    wrap: Callable[[Any], Any]
    strip: Callable[[Any], Any]
    begin: Callable[[Any], Callable[[], None]] = lambda _network: lambda: None
    """Called with the network before the training; returns what is called after it."""


def trained(
    model: Model,
    data: Data,
    settings: FineTuning,
    chosen: tuple[str, ...],
    wrapping: Wrapping,
    budget: Budget,
    progress: Progress,
) -> Any:  # noqa: ANN401 - a tf_keras.Model; it has no types
    """Return the network, with its layers wrapped, trained, and stripped again.

    Raises:
        TechniqueError: No layer can be wrapped, or the network can not be built in tf_keras.
        DataError: The labels do not fit the model.
    """
    tf_keras = load_tf_keras()
    network = twin_of(model, data.calibration)

    def choose(layer: Any) -> Any:  # noqa: ANN401 - as above
        return wrapping.wrap(layer) if layer.name in chosen else layer

    with quiet():
        tf_keras.utils.set_random_seed(budget.seed)  # centroids are drawn
        wrapped = tf_keras.models.clone_model(network, clone_function=choose)
        end = wrapping.begin(wrapped)
    fine_tune(wrapped, model, data, settings, budget, progress)
    with quiet():
        end()
        return wrapping.strip(wrapped)


def kernel_layers(model: Model, skip: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the layers that have a kernel and are not skipped.

    Raises:
        TechniqueError: There is none, or a name to skip is not known.
    """
    layers = {one["config"]["name"]: one["class_name"] for one in config_of(model.content)["config"]["layers"]}
    names = [name for name, kind in layers.items() if kind in WITH_KERNEL]
    unknown = sorted(set(skip) - layers.keys())
    chosen = tuple(name for name in names if name not in skip)
    if unknown or not chosen:
        found = f"no layers {unknown}" if unknown else f"no {' or '.join(WITH_KERNEL)} left"
        raise TechniqueError(f"choosing layers of a Keras model: {found}, layers with a kernel are {names}")
    return chosen
