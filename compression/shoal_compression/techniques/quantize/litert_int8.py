"""Full-integer LiteRT from a float `.tflite`, by ai-edge-quantizer: needs no TensorFlow and no Keras source."""

from typing import ClassVar, Final, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.litert_quantizer import Algorithm, Rule, quantize_litert
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique

PRECISIONS: Final = {8: "int8", 16: "int8 weights, int16 activations"}


class LitertInt8(Technique):
    """Quantize weights to int8 by channel and activations by the ranges of the calibration samples."""

    technique: Literal["litert-int8"] = "litert-int8"
    activation_bits: Literal[8, 16] = 8
    algorithm: Algorithm = "min-max"
    """How the scales of weights are chosen."""
    samples: int = Field(default=256, ge=1, le=100_000)
    """At most so many calibration samples are run, in an order that the seed decides."""
    keep_float: tuple[str, ...] = ()
    """Regular expressions of layers that stay float32: those that a sensitivity ranking blames."""
    takes: ClassVar[frozenset[Form]] = frozenset({"tflite"})
    tools: ClassVar[tuple[str, ...]] = ("ai-edge-quantizer", "ai-edge-litert")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the quantized file.

        Raises:
            SourceError: It has no signature, is quantized already, or has open sizes.
            TechniqueError: An operator can not be quantized so.
        """
        rules = [
            Rule(activation_bits=self.activation_bits, algorithm=self.algorithm),
            *(Rule(layers=layers, compute="float32") for layers in self.keep_float),
        ]
        content = quantize_litert(model, rules, data.calibration.some(self.samples, budget.seed), budget.threads)
        return model.with_content(content, precision=PRECISIONS[self.activation_bits])
