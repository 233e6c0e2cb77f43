"""Static int8 whose weights are rounded as the layers' outputs want it."""

from typing import ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.model import Model
from shoal_compression.technique import Progress
from shoal_compression.techniques.quantize.biases import correct_biases
from shoal_compression.techniques.quantize.qdq import write_qdq
from shoal_compression.techniques.quantize.rounding import Steps, learn_rounding
from shoal_compression.techniques.quantize.static import StaticQuantizer


class AdaRound(StaticQuantizer):
    """Quantize as `int8-static`, learn how to round each layer's weights, and correct the biases."""

    technique: Literal["adaround"] = "adaround"
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    steps: int = Field(default=500, ge=1)
    """Of learning, a layer."""
    rows: int = Field(default=256, ge=2)
    """Samples that layers learn from."""
    pressure: float = Field(default=0.3, gt=0)
    bias_correction: bool = True

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the quantized model."""
        proto, samples, ranges = self.prepare(model, data, budget)
        made = write_qdq(proto, ranges, self.scheme)
        few = samples.first(self.rows)
        learn_rounding(proto, made, model, few, Steps(self.steps, self.pressure), budget, progress)
        if self.bias_correction:
            correct_biases(proto, made, model, few, budget.threads, progress)
        return model.with_content(made.SerializeToString(), precision="int8")
