"""Steps that tame the ends of numbers: bounds, and logarithms."""

from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.step import FittedStep, Step, numbers_to_fit


class Clip(Step):
    """Sets what lies beyond a bound to it, infinities too; bounds are given, or quantiles of what is learned from."""

    kind: ClassVar[str] = "clip"
    keeps_shape: ClassVar[bool] = True

    low: float | None = None
    high: float | None = None
    low_quantile: float | None = Field(default=None, ge=0, lt=1)
    high_quantile: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        lows, highs = (self.low, self.low_quantile), (self.high, self.high_quantile)
        if None not in lows or None not in highs:
            raise ValueError("a bound is given twice, as a number and as a quantile; give one of them")
        if lows == highs == (None, None):
            raise ValueError("no bound is given; add `low`, `high`, `low_quantile` or `high_quantile`")
        for low, high in zip(lows, highs, strict=True):
            if low is not None and high is not None and low >= high:
                raise ValueError(f"the lower bound is {low:g} and the upper {high:g}; give a lower one below")
        return self

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        low = self._bound(frame, names, self.low, self.low_quantile, -np.inf)
        high = self._bound(frame, names, self.high, self.high_quantile, np.inf)

        def compute(block: Array) -> Array:
            raised = np.where(block < low, low, block)
            return np.where(raised > high, high, raised)

        def write(writer: GraphWriter, tensor: str) -> str:
            least, most = writer.constant(low, np.float32), writer.constant(high, np.float32)
            # Not Max and Min, which take NaN otherwise from one version of a runtime to the next.
            raised = writer.add("Where", writer.add("Less", tensor, least), least, tensor)
            return writer.add("Where", writer.add("Greater", raised, most), most, raised)

        return (FittedStep(names, names, compute, write),)

    def _bound(
        self, frame: Frame, names: tuple[str, ...], given: float | None, quantile: float | None, none: float
    ) -> Array:
        if quantile is None:
            return np.full(len(names), none if given is None else given, dtype=np.float32)
        block = frame.block(names).astype(np.float64)
        if not np.isfinite(block).any(axis=0).all():
            raise DataError("transforming: clip: a column holds no finite number to take a quantile of; leave it out")
        finite = np.where(np.isfinite(block), block, np.nan)
        return np.nanquantile(finite, quantile, axis=0).astype(np.float32)


class Log(Step):
    """Takes the natural logarithm of a number and an offset; signed, it keeps the sign and takes log(1 + |x|)."""

    kind: ClassVar[str] = "log"
    keeps_shape: ClassVar[bool] = True

    offset: float = Field(default=1.0, ge=0)
    is_signed: bool = False

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        least = np.nanmin(numbers_to_fit(self, frame, names), axis=0)
        if not self.is_signed and (least + self.offset <= 0).any():
            name = names[int(np.argmin(least))]
            raise DataError(
                f"transforming: log: {name} is as small as {least.min():g}, and has no logarithm with the offset "
                f"{self.offset:g}; give a larger `offset`, or `is_signed: true`"
            )
        return (_signed(names) if self.is_signed else _logarithm(names, self.offset),)


def _logarithm(names: tuple[str, ...], offset: float) -> FittedStep:
    def compute(block: Array) -> Array:
        return np.log(block.astype(np.float64) + offset).astype(np.float32)

    def write(writer: GraphWriter, tensor: str) -> str:
        moved = writer.add("Add", writer.cast(tensor, np.float64), writer.constant(offset, np.float64))
        return writer.cast(writer.add("Log", moved), np.float32)

    return FittedStep(names, names, compute, write)


def _signed(names: tuple[str, ...]) -> FittedStep:
    def compute(block: Array) -> Array:
        wide = block.astype(np.float64)
        return (np.sign(wide) * np.log(1.0 + np.abs(wide))).astype(np.float32)

    def write(writer: GraphWriter, tensor: str) -> str:
        wide = writer.cast(tensor, np.float64)
        size = writer.add("Log", writer.add("Add", writer.add("Abs", wide), writer.constant(1.0, np.float64)))
        return writer.cast(writer.add("Mul", writer.add("Sign", wide), size), np.float32)

    return FittedStep(names, names, compute, write)
