"""A Keras model as a LiteRT file in float32: what devices with LiteRT load, and what `litert-...` techniques take."""

from typing import ClassVar, Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.keras_file import open_keras
from shoal_compression.litert_converter import Conversion, convert
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique


class ToLitert(Technique):
    """Convert Keras to LiteRT: builtin operators only, one signature `serving_default` with the model's names."""

    technique: Literal["to-litert"] = "to-litert"
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    gives: ClassVar[Form | None] = "tflite"
    is_lossless: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "keras")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model as `.tflite`.

        Raises:
            SourceError: An input has an open size other than the batch.
            TechniqueError: The converter does not know an operator.
        """
        return model.with_content(convert(open_keras(model), model, Conversion()), form="tflite")
