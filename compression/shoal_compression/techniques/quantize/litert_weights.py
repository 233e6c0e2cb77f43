"""A float `.tflite` with small weights, by ai-edge-quantizer: int8, int4 or float16, and no calibration."""

from typing import ClassVar, Final, Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.litert_quantizer import Algorithm, Compute, Rule, quantize_litert
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique

COMPUTES: Final[dict[str, Compute]] = {"integer": "dynamic", "float": "weights"}


class LitertWeights(Technique):
    """Quantize weights by channel; activations are quantized as they come, or computing stays in float32."""

    technique: Literal["litert-weights"] = "litert-weights"
    weights: Literal["int4", "int8", "float16"] = "int8"
    """float16 is always computed with in float."""
    compute: Literal["integer", "float"] = "integer"
    """`integer` is faster where the processor has dot products of bytes; `float` loses nothing to activations."""
    algorithm: Algorithm = "min-max"
    """How the scales are chosen; `mse` pays at 4 bits."""
    keep_float: tuple[str, ...] = ()
    """Regular expressions of layers that stay float32."""
    takes: ClassVar[frozenset[Form]] = frozenset({"tflite"})
    tools: ClassVar[tuple[str, ...]] = ("ai-edge-quantizer", "ai-edge-litert")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the file with its weights replaced.

        Raises:
            SourceError: It has no signature, is quantized already, or has open sizes.
            TechniqueError: No operator can be quantized so.
        """
        compute: Compute = "float16" if self.weights == "float16" else COMPUTES[self.compute]
        first = Rule(compute=compute, weight_bits=4 if self.weights == "int4" else 8, algorithm=self.algorithm)
        rules = [first, *(Rule(layers=layers, compute="float32") for layers in self.keep_float)]
        content = quantize_litert(model, rules, data.calibration, budget.threads)
        return model.with_content(content, precision=f"{self.weights} weights")
