"""The step that fills in what is missing."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import ColumnKind, Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.step import FittedStep, Step, numbers_to_fit


class Impute(Step):
    """Fills in what is missing: numbers that are NaN, texts that are empty. Infinite numbers stay."""

    kind: ClassVar[str] = "impute"
    keeps_shape: ClassVar[bool] = True
    takes: ClassVar[frozenset[ColumnKind]] = frozenset({"number", "text"})

    strategy: Literal["mean", "median", "most_frequent", "constant"] = "median"
    fill_value: float | str | None = None
    """For `constant`; a text fills texts."""
    is_marked: bool = False
    """Whether each column of numbers gets one beside it, NAME_missing, that is 1 where it was missing."""

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if (self.strategy == "constant") != (self.fill_value is not None):
            raise ValueError(
                "`fill_value` belongs to the strategy `constant`, and that needs one; give both or neither"
            )
        return self

    def chosen(self, frame: Frame) -> tuple[str, ...]:
        """See `Step`."""
        return frame.named(frozenset({"text"} if isinstance(self.fill_value, str) else {"number"}))

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        numbers = tuple(name for name in names if frame.kind_of(name) == "number")
        made = [self._of_text(frame, name) for name in names if name not in numbers]
        if numbers:
            if isinstance(self.fill_value, str):
                raise DataError(f"transforming: impute: {numbers[0]} holds numbers, and `fill_value` is a text")
            made += [_marked(numbers)] if self.is_marked else []
            made.append(_filled(numbers, self._values(frame, numbers)))
        return tuple(made)

    def _values(self, frame: Frame, names: tuple[str, ...]) -> Array:
        from sklearn.impute import SimpleImputer

        if self.strategy == "constant":
            return np.full(len(names), self.fill_value, dtype=np.float32)
        fitted = SimpleImputer(strategy=self.strategy).fit(numbers_to_fit(self, frame, names))
        return np.asarray(fitted.statistics_, dtype=np.float32)

    def _of_text(self, frame: Frame, name: str) -> FittedStep:
        from sklearn.impute import SimpleImputer

        if self.strategy in {"mean", "median"} or isinstance(self.fill_value, float):
            raise DataError(
                f"transforming: impute: {name} holds texts; give `most_frequent`, or `constant` with a text to fill in"
            )
        if isinstance(self.fill_value, str):
            return _filled_text(name, self.fill_value)
        texts = frame.block([name])
        if (texts == "").all():
            raise DataError(f"transforming: impute: the column {name} holds no text in any row; leave it out")
        fitted = SimpleImputer(strategy="most_frequent", missing_values="").fit(texts)
        return _filled_text(name, str(fitted.statistics_[0]))


def _filled(names: tuple[str, ...], values: Array) -> FittedStep:
    def compute(block: Array) -> Array:
        return np.where(np.isnan(block), values, block)

    def write(writer: GraphWriter, tensor: str) -> str:
        return writer.add("Where", writer.add("IsNaN", tensor), writer.constant(values, np.float32), tensor)

    return FittedStep(names, names, compute, write)


def _marked(names: tuple[str, ...]) -> FittedStep:
    def compute(block: Array) -> Array:
        return np.isnan(block).astype(np.float32)

    def write(writer: GraphWriter, tensor: str) -> str:
        return writer.cast(writer.add("IsNaN", tensor), np.float32)

    return FittedStep(names, tuple(f"{name}_missing" for name in names), compute, write, keeps=True)


def _filled_text(name: str, value: str) -> FittedStep:
    def compute(block: Array) -> Array:
        filled = block.copy()
        filled[block == ""] = value
        return filled

    def write(writer: GraphWriter, tensor: str) -> str:
        # Texts have no Equal before opset 19; a LabelEncoder tells the empty one.
        keys = {"keys_strings": [""], "values_int64s": [1], "default_int64": 0}
        is_empty = writer.cast(writer.add("LabelEncoder", tensor, domain="ai.onnx.ml", **keys), np.bool_)
        return writer.add("Where", is_empty, writer.constant([value], np.object_), tensor)

    return FittedStep((name,), (name,), compute, write)
