"""Keras to full-integer LiteRT: int8 weights and activations by post-training quantization; ends stay as they are."""

from typing import ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.keras_file import open_keras
from shoal_compression.litert_converter import Conversion, convert
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique


class KerasInt8(Technique):
    """Quantize by the ranges of the calibration samples, weights by channel (Jacob et al. 2018, arXiv 1712.05877)."""

    technique: Literal["keras-int8"] = "keras-int8"
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
        asked = Conversion("int8", data.calibration.some(self.samples, budget.seed))
        return model.with_content(convert(open_keras(model), model, asked), form="tflite", precision="int8")
