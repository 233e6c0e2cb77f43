"""Keras to LiteRT with int8 weights: a quarter of the size, and no data is needed."""

from typing import ClassVar, Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.keras_file import open_keras
from shoal_compression.litert_converter import Conversion, convert
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique


class KerasDynamicRange(Technique):
    """Quantize weights of 1,024 elements and more to int8; activations are quantized as they come."""

    technique: Literal["keras-dynamic-range"] = "keras-dynamic-range"
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    gives: ClassVar[Form | None] = "tflite"
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "keras")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model as `.tflite`.

        Raises:
            SourceError: An input has an open size other than the batch.
            TechniqueError: The converter does not know an operator.
        """
        content = convert(open_keras(model), model, Conversion("dynamic"))
        return model.with_content(content, form="tflite", precision="int8 weights")
