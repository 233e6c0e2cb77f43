"""Static int8 whose biases make good what rounding shifts."""

from typing import Literal

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.data import Data
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress
from shoal_compression.techniques.quantize.biases import correct_biases
from shoal_compression.techniques.quantize.qdq import write_qdq
from shoal_compression.techniques.quantize.static import StaticQuantizer


class BiasCorrect(StaticQuantizer):
    """Quantize as `int8-static`, then correct each layer's bias (see `biases`).

    Kept only where the answers to the calibration samples come closer to those of the float model.
    """

    technique: Literal["bias-correct"] = "bias-correct"

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the quantized model."""
        proto, samples, ranges = self.prepare(model, data, budget)
        made = write_qdq(proto, ranges, self.scheme)
        plain = model.with_content(made.SerializeToString(), precision="int8")
        correct_biases(proto, made, model, samples, budget.threads, progress)
        corrected = plain.with_content(made.SerializeToString())
        name = model.outputs[0].name
        reference, *found = (outputs_of(one, samples, budget.threads)[name] for one in (model, plain, corrected))
        return corrected if sqnr_db(reference, found[1]) >= sqnr_db(reference, found[0]) else plain
