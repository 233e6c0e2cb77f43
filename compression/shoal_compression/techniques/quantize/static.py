"""Weights and activations in 8 bits, with ranges calibrated on samples (Jacob et al. 2018, arXiv 1712.05877)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from shoal_compression.budget import Budget
from shoal_compression.data import Data, Samples
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.quantize.observing import check_calibration
from shoal_compression.techniques.quantize.preparing import check_quantizable, prepared
from shoal_compression.techniques.quantize.qdq import Granularity, Scheme, Types, write_qdq
from shoal_compression.techniques.quantize.ranges import Calibration, Range, find_ranges


class StaticQuantizer(Technique):
    """What all techniques share that quantize weights and activations of an ONNX model."""

    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    calibration: Calibration = "min-max"
    percentile: float = Field(default=99.99, gt=50, lt=100)
    """With `calibration: percentile`: the share of values in % that an activation's range holds."""
    samples: int = Field(default=512, ge=1)
    """At most so many are calibrated with."""
    types: Types = "u8u8"
    reduce_range: bool = False
    """Keep weights in 7 bits, so that sums do not saturate on x86 processors without VNNI."""
    granularity: Granularity = "per-channel"

    @model_validator(mode="after")
    def _check(self) -> "StaticQuantizer":
        if self.types == "u8u8" and self.reduce_range:
            raise ValueError("reduce_range is for signed weights, which saturate; unsigned ones do not: leave it out")
        return self

    @property
    def scheme(self) -> Scheme:
        """How values are kept."""
        return Scheme(self.types, self.reduce_range, self.granularity)

    def prepare(self, model: Model, data: Data, budget: Budget) -> tuple[Any, Samples, dict[str, Range]]:
        """Return the graph made ready, the samples to calibrate with, and the activations' ranges.

        Raises:
            CompressionError: The samples or the graph can not be used.
        """
        doing = f"applying {self.name}"
        check_calibration(data.calibration, data.test, doing)
        proto = prepared(model, doing)
        check_quantizable(proto, doing)
        samples = data.calibration.some(self.samples, budget.seed)
        ranges = find_ranges(proto, model, samples, self.calibration, self.percentile, budget.threads)
        return proto, samples, ranges


class Int8Static(StaticQuantizer):
    """Round weights and activations to the nearest of 256 levels."""

    technique: Literal["int8-static"] = "int8-static"

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the quantized model."""
        progress(self.name, 0, 2)
        proto, _, ranges = self.prepare(model, data, budget)
        progress(self.name, 1, 2)
        made = write_qdq(proto, ranges, self.scheme)
        progress(self.name, 2, 2)
        return model.with_content(made.SerializeToString(), precision="int8")
