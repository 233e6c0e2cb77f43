"""Keras to LiteRT with int8 weights and int16 activations: nearly float accuracy at int8's size, slower than int8."""

from typing import ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.keras_file import open_keras
from shoal_compression.litert_converter import Conversion, convert
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique


class KerasInt16(Technique):
    """Quantize weights to int8 by channel and activations to int16: for what loses too much with int8 activations."""

    technique: Literal["keras-int16"] = "keras-int16"
    samples: int = Field(default=256, ge=1, le=100_000)
    """At most so many calibration samples are run, in an order that the seed decides."""
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    gives: ClassVar[Form | None] = "tflite"
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "keras")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model as `.tflite`.

        Raises:
            SourceError: An input has an open size other than the batch.
            TechniqueError: An operator has no integer form.
        """
        asked = Conversion("int16", data.calibration.some(self.samples, budget.seed))
        return model.with_content(
            convert(open_keras(model), model, asked), form="tflite", precision="int8 weights, int16 activations"
        )
