"""Keras to LiteRT with float16 weights: half of the size, next to no loss, and no data is needed."""

from typing import ClassVar, Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.keras_file import open_keras
from shoal_compression.litert_converter import Conversion, convert
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique


class KerasFloat16(Technique):
    """Keep weights in float16; a processor widens them when it loads the file, a GPU computes in float16."""

    technique: Literal["keras-float16"] = "keras-float16"
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    gives: ClassVar[Form | None] = "tflite"
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "keras")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model as `.tflite`.

        Raises:
            SourceError: An input has an open size other than the batch.
            TechniqueError: The converter does not know an operator.
        """
        content = convert(open_keras(model), model, Conversion("float16"))
        return model.with_content(content, form="tflite", precision="float16 weights")
