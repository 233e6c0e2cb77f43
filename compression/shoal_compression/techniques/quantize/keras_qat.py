"""Quantization-aware training of Keras models: the network learns with the rounding that int8 will bring."""

from typing import Any, ClassVar, Final, Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.litert_converter import Conversion, convert
from shoal_compression.model import Form, Model
from shoal_compression.quieting import quiet
from shoal_compression.technique import Progress, Technique
from shoal_compression.tensorflow_runtime import load_tf_keras, load_tfmot
from shoal_compression.tf_keras_ranges import begin_ranges
from shoal_compression.tf_keras_training import FineTuning, fine_tune
from shoal_compression.tf_keras_twin import twin_of

RANGE_SAMPLES: Final = 256


class KerasQat(Technique):
    """Train with simulated int8 by tfmot (Jacob et al. 2018, arXiv 1712.05877), then convert to full-integer LiteRT.

    Batch normalisation is folded while training. Ranges of activations begin at those of the calibration samples.
    """

    technique: Literal["keras-qat"] = "keras-qat"
    preserve: Literal["nothing", "sparsity", "clusters"] = "nothing"
    """Keeps what a step before has pruned or clustered."""
    skip: tuple[str, ...] = ()
    """Layers that stay float32, by name."""
    training: FineTuning = FineTuning(learning_rate=1e-4)
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    gives: ClassVar[Form | None] = "tflite"
    trains: ClassVar[bool] = True
    needs_train: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "keras")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the trained and quantized model as `.tflite`.

        Raises:
            SourceError: An input has an open size other than the batch.
            TechniqueError: The network can not be built in tf_keras, or has a layer that tfmot can not quantize.
            DataError: The labels do not fit the model.
        """
        network = twin_of(model, data.calibration)
        quantized = self._quantized(network)
        begin_ranges(quantized, network, model, data.calibration.some(RANGE_SAMPLES, budget.seed))
        fine_tune(quantized, model, data, self.training, budget, progress)
        content = convert(quantized, model, Conversion("trained"))
        return model.with_content(content, form="tflite", precision="int8")

    def _quantized(self, network: Any) -> Any:  # noqa: ANN401 - tf_keras has no types
        tfmot, tf_keras = load_tfmot(), load_tf_keras()
        quantize = tfmot.quantization.keras
        unknown = sorted(set(self.skip) - {layer.name for layer in network.layers})
        if unknown:
            known = [layer.name for layer in network.layers]
            raise TechniqueError(f"quantization-aware training: no layers {unknown} to skip found, they are {known}")
        schemes = {
            "nothing": quantize.default_8bit.Default8BitQuantizeScheme,
            "sparsity": tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme,
            "clusters": tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme,
        }

        def annotated(layer: Any) -> Any:  # noqa: ANN401 - as above
            is_kept = layer.name in self.skip or type(layer).__name__ == "InputLayer"
            return layer if is_kept else quantize.quantize_annotate_layer(layer)

        with quiet():
            try:
                wrapped = tf_keras.models.clone_model(network, clone_function=annotated)
                with quantize.quantize_scope():
                    return quantize.quantize_apply(wrapped, schemes[self.preserve]())
            except (RuntimeError, ValueError) as error:  # layers without a known way to be quantized
                msg = f"quantization-aware training: {str(error)[:500]}"
                raise TechniqueError(f"{msg}; name the layer under `skip`, or use keras-int8") from error
