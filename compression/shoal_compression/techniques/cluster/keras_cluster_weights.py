"""Weight clustering of Keras models: each kernel has a few values, which a compressed transfer saves."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.keras_file import with_arrays
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.tensorflow_runtime import load_tfmot
from shoal_compression.tf_keras_training import FineTuning
from shoal_compression.tf_keras_twin import arrays_of
from shoal_compression.tf_keras_wrapping import Wrapping, kernel_layers, trained


class KerasClusterWeights(Technique):
    """Let the weights of each kernel share some values, which train (Han et al. 2016, arXiv 1510.00149).

    The file is as large as before and as fast: what gets smaller is what is sent, as deltas and blobs are compressed.
    """

    technique: Literal["keras-cluster-weights"] = "keras-cluster-weights"
    clusters: int = Field(default=16, ge=2, le=256)
    """Values of each kernel."""
    skip: tuple[str, ...] = ()
    """Layers that stay as they are, by name."""
    training: FineTuning = FineTuning(learning_rate=1e-4)
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    trains: ClassVar[bool] = True
    needs_train: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "keras")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the clustered Keras model.

        Raises:
            TechniqueError: The network can not be built in tf_keras, or no layer is left to cluster.
            DataError: The labels do not fit the model.
        """
        cluster = load_tfmot().clustering.keras
        first = cluster.CentroidInitialization.KMEANS_PLUS_PLUS

        def wrap(layer: Any) -> Any:  # noqa: ANN401 - tf_keras has no types
            return cluster.cluster_weights(layer, number_of_clusters=self.clusters, cluster_centroids_init=first)

        chosen = kernel_layers(model, self.skip)
        wrapping = Wrapping(wrap, cluster.strip_clustering)
        arrays = arrays_of(trained(model, data, self.training, chosen, wrapping, budget, progress))
        return with_arrays(model, arrays, model.precision)
