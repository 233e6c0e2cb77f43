"""A float `.tflite` quantized operator by operator, as rules say: int4 where a model can bear it, int16 where not."""

from typing import ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.litert_quantizer import Rule, quantize_litert
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique


class LitertMixed(Technique):
    """Quantize by rules: of those that fit an operator the last counts, and what none fits stays float32."""

    technique: Literal["litert-mixed"] = "litert-mixed"
    rules: tuple[Rule, ...] = Field(
        default=(Rule(), Rule(operators="FULLY_CONNECTED", compute="dynamic", weight_bits=4, algorithm="mse")),
        min_length=1,
        max_length=100,
    )
    """By default full int8, and dense layers with int4 weights."""
    samples: int = Field(default=256, ge=1, le=100_000)
    """At most so many calibration samples are run, in an order that the seed decides."""
    takes: ClassVar[frozenset[Form]] = frozenset({"tflite"})
    tools: ClassVar[tuple[str, ...]] = ("ai-edge-quantizer", "ai-edge-litert")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the quantized file.

        Raises:
            SourceError: It has no signature, is quantized already, or has open sizes.
            TechniqueError: A rule asks for what no kernel can compute, or no operator fits any.
        """
        chosen = data.calibration.some(self.samples, budget.seed)
        return model.with_content(quantize_litert(model, self.rules, chosen, budget.threads), precision="mixed")
