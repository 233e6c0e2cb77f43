"""Mixed precision: static int8 with the most sensitive layers left in float32, as few as the tolerance asks for."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.comparing import agreement, sqnr_db
from shoal_compression.data import Data, Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress
from shoal_compression.techniques.quantize.biases import correct_biases
from shoal_compression.techniques.quantize.qdq import write_qdq
from shoal_compression.techniques.quantize.ranges import Range
from shoal_compression.techniques.quantize.rounding import Steps, learn_rounding
from shoal_compression.techniques.quantize.sensitivity import ROWS, RankedLayer, rank
from shoal_compression.techniques.quantize.static import StaticQuantizer
from shoal_numerics.proportion import wilson_interval


class Mixed(StaticQuantizer):
    """Quantize all but the layers that cost most (see `sensitivity`), one more left out until it is good enough.

    Good enough is told on the calibration samples, with the answers of the float model: no labels are needed.
    """

    technique: Literal["mixed"] = "mixed"
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    least_agreement: float = Field(default=0.995, ge=0, le=1)
    """Share of the samples for which both models name the same class."""
    confidence: float | None = Field(default=None, gt=0.5, lt=1)
    """With it, how sure it is to be that other samples agree as often: the share's lower bound (Wilson's, one-sided)
    has to reach it. Of 512 samples two that differ are too many for 0.99 at 0.95."""
    least_sqnr_db: float = Field(default=0.0)
    """Of the first output; for models that name no class."""
    most_float: float = Field(default=0.5, ge=0, le=1)
    """Share of the weights that may stay in float32."""
    learned_rounding: bool = False
    """Learn how to round the others, as `adaround` does."""
    bias_correction: bool = False

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the quantized model.

        Raises:
            TechniqueError: It is not good enough with as many layers in float32 as may be; names the worst of them.
        """
        proto, samples, ranges = self.prepare(model, data, budget)
        name = model.outputs[0].name
        reference = outputs_of(model, samples, budget.threads)[name]
        ranked: tuple[RankedLayer, ...] = ()
        best, kept = (0.0, 0.0), 0
        while True:
            made = self._quantized(proto, model, samples, ranges, ranked[:kept], budget, progress)
            found = outputs_of(made, samples, budget.threads)[name]
            reached = (agreement(reference, found), sqnr_db(reference, found))
            if self._sure(reached[0], len(reference)) >= self.least_agreement and reached[1] >= self.least_sqnr_db:
                return made
            best = max(best, reached)
            ranked = ranked or rank(proto, model, samples.first(ROWS), ranges, self.scheme, budget, progress)
            kept = next((more for more in _counts(kept) if more <= len(ranked)), kept)
            share = sum(one.weights for one in ranked[:kept]) / sum(one.weights for one in ranked)
            if share > self.most_float or kept == len(ranked) or budget.left_s <= 0:
                raise TechniqueError(self._refusal(best, ranked))

    def _sure(self, share: float, samples: int) -> float:
        if self.confidence is None:
            return share
        return wilson_interval(round(share * samples), samples, 2 * self.confidence - 1)[0]

    def _refusal(self, best: tuple[float, float], ranked: Sequence[RankedLayer]) -> str:
        worst = ", ".join(f"{one.layer} ({one.sqnr_db:.0f} dB)" for one in ranked[:3])
        found = f"{best[0]:.1%} of the answers are the float model's at {best[1]:.0f} dB"
        sure = "" if self.confidence is None else f", {self.confidence:.0%} sure,"
        wanted = f"{self.least_agreement:.1%}{sure} at {self.least_sqnr_db:.0f} dB expected"
        step = "equalise in a step before, let more stay in float32 (most_float), or train with quantization"
        return f"applying {self.name}: {found}, {wanted}; most sensitive are {worst}; {step}"

    def _quantized(
        self,
        proto: Any,  # noqa: ANN401 - a message of ONNX
        model: Model,
        samples: Samples,
        ranges: dict[str, Range],
        left_out: Sequence[RankedLayer],
        budget: Budget,
        progress: Progress,
    ) -> Model:
        made = write_qdq(proto, ranges, self.scheme, {node for one in left_out for node in one.nodes})
        few = samples.first(2 * ROWS)
        if self.learned_rounding:
            learn_rounding(proto, made, model, few, Steps(500, 0.3), budget, progress)
        if self.bias_correction:
            correct_biases(proto, made, model, few, budget.threads, progress)
        precision = f"int8, {len(left_out)} layers float32" if left_out else "int8"
        return model.with_content(made.SerializeToString(), precision=precision)


def _counts(kept: int) -> Iterator[int]:
    """Yield the next count of layers: one more at first, later a quarter more."""
    yield kept + max(1, kept // 4)
    yield kept + 1
