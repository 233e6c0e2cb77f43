"""Steps that leave columns out, or take them for something else."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import ColumnKind, Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.step import FittedStep, Step


class Drop(Step):
    """Leaves columns out from here on. One that no step before has used is no input of the model at all."""

    kind: ClassVar[str] = "drop"
    takes: ClassVar[frozenset[ColumnKind]] = frozenset({"number", "text", "time"})

    columns: tuple[str, ...] = Field(min_length=1)

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:  # noqa: ARG002 - nothing is learned
        """See `Step`."""
        return tuple(FittedStep((name,), (), _nothing, _nowhere) for name in names)


class Cast(Step):
    """Takes columns for another kind.

    `number` and `text` say what the model's input is, and come before other steps of the column: texts that hold
    numbers (an empty one is missing), or numbers whose text is a category. `integer` cuts off what is behind the
    point, and `boolean` makes 1 of what is not 0; a missing number stays missing.
    """

    kind: ClassVar[str] = "cast"
    takes: ClassVar[frozenset[ColumnKind]] = frozenset({"number", "text"})

    columns: tuple[str, ...] = Field(min_length=1)
    to: Literal["number", "text", "integer", "boolean"]

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        wrong = [name for name in names if (frame.kind_of(name) == "text") != (self.to == "text")]
        if wrong:
            raise DataError(
                f"transforming: cast to {self.to}: {wrong[0]} holds {frame.kind_of(wrong[0])}s by then; a cast to "
                "`number` or `text` comes before other steps of its column, and the others take numbers"
            )
        if self.to in {"number", "text"}:
            return ()  # read so already
        if self.to == "integer":
            return (FittedStep(names, names, _whole, _written_whole),)
        return (FittedStep(names, names, _boolean, _written_boolean),)


def _nothing(block: Array) -> Array:
    return block[:, :0]


def _nowhere(writer: GraphWriter, tensor: str) -> str:  # noqa: ARG001 - as `FittedStep.write`
    return tensor


def _whole(block: Array) -> Array:
    return np.trunc(block)


def _written_whole(writer: GraphWriter, tensor: str) -> str:
    return writer.add("Mul", writer.add("Sign", tensor), writer.add("Floor", writer.add("Abs", tensor)))


def _boolean(block: Array) -> Array:
    return np.where(np.isnan(block), block, (block != 0).astype(np.float32))


def _written_boolean(writer: GraphWriter, tensor: str) -> str:
    is_zero = writer.add("Equal", tensor, writer.constant([0.0], np.float32))
    return writer.add(
        "Where",
        writer.add("IsNaN", tensor),
        tensor,
        writer.cast(writer.add("Not", is_zero), np.float32),
    )
