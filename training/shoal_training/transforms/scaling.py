"""Steps that bring numbers to one scale; fitted by scikit-learn, computed in 64 bits as it does."""

from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.step import Affine, FittedStep, Step, numbers_to_fit


class Standardize(Step):
    """Takes off the mean and divides by the standard deviation, both of the rows that are learned from."""

    kind: ClassVar[str] = "standardize"
    keeps_shape: ClassVar[bool] = True

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        from sklearn.preprocessing import StandardScaler

        fitted = StandardScaler().fit(numbers_to_fit(self, frame, names))
        return (_scaled(names, -fitted.mean_, 1.0 / fitted.scale_),)


class MinMax(Step):
    """Brings the smallest and the largest number of the rows that are learned from to the ends of a range."""

    kind: ClassVar[str] = "min_max"
    keeps_shape: ClassVar[bool] = True

    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"`low` is {self.low:g} and `high` {self.high:g}; give a low below the high")
        return self

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        from sklearn.preprocessing import MinMaxScaler

        fitted = MinMaxScaler((self.low, self.high)).fit(numbers_to_fit(self, frame, names))
        return (_scaled(names, fitted.min_ / fitted.scale_, fitted.scale_),)


class Robust(Step):
    """Takes off the median and divides by the distance of two quantiles, which a few wild values do not move."""

    kind: ClassVar[str] = "robust"
    keeps_shape: ClassVar[bool] = True

    low_quantile: float = Field(default=0.25, ge=0, lt=0.5)
    high_quantile: float = Field(default=0.75, gt=0.5, le=1)

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        from sklearn.preprocessing import RobustScaler

        bounds = (100 * self.low_quantile, 100 * self.high_quantile)
        fitted = RobustScaler(quantile_range=bounds).fit(numbers_to_fit(self, frame, names))
        return (_scaled(names, -fitted.center_, 1.0 / fitted.scale_),)


def _scaled(names: tuple[str, ...], offset: Any, factor: Any) -> FittedStep:  # noqa: ANN401 - scikit-learn's
    """Return (x + offset) · factor; 64 bits, as of numbers like seconds since 1970 little is left in 32."""

    def compute(block: Array) -> Array:
        return np.asarray((block.astype(np.float64) + offset) * factor, dtype=np.float32)

    def write(writer: GraphWriter, tensor: str) -> str:
        moved = writer.add("Add", writer.cast(tensor, np.float64), writer.constant(offset, np.float64))
        return writer.cast(writer.add("Mul", moved, writer.constant(factor, np.float64)), np.float32)

    shift = np.asarray(offset, dtype=np.float64) * factor
    affine = Affine(tuple(np.asarray(factor, dtype=np.float64).tolist()), tuple(shift.tolist()))
    return FittedStep(names, names, compute, write, affine=affine)
