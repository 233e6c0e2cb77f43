"""Fits the transformation of a pipeline file on the rows that are learned from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import ValidationError

from shoal_contract.manifest import Datatype, TensorSpec
from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.columns import Cast
from shoal_training.transforms.dates import DateParts
from shoal_training.transforms.frame import ColumnKind, Frame, column_of, kind_in
from shoal_training.transforms.graph_writer import GraphFrame, GraphWriter
from shoal_training.transforms.joined_graph import SCORES
from shoal_training.transforms.preparation import PREPARED, Preparation
from shoal_training.transforms.step import FittedStep, Step, fit_step
from shoal_training.transforms.tensor_column import TensorColumn

if TYPE_CHECKING:
    import pyarrow as pa

FEATURES: Final = "features"
"""The one input of a model of numbers alone."""
_DATATYPES: Final[dict[ColumnKind, Datatype]] = {"number": "FP32", "text": "BYTES", "time": "FP64"}


def fit_preparation(table: "pa.Table", columns: Sequence[str], steps: Sequence[Step]) -> Preparation:
    """Fit the steps on rows.

    Args:
        table: The rows that are learned from.
        columns: The model's inputs.
        steps: In turn; numbers that none is for are passed on, texts and times among them refused.

    Raises:
        DataError: A column is missing, is of a type that no step takes, or a step does not fit it.
    """
    kinds = {name: kind_in(table, name) for name in columns}
    tensors = [name for name, kind in kinds.items() if kind == "tensor"]
    if tensors:
        if len(columns) > 1:
            raise DataError(
                f"transforming: the column {tensors[0]} holds a tensor a row, which stands alone; name it as the only "
                "input"
            )
        return TensorColumn.fit(table, tensors[0], steps)
    return ColumnPreparation.fit(table, {name: _taken_as(name, kinds[name], steps) for name in columns}, steps)


def _taken_as(name: str, kind: ColumnKind | str, steps: Sequence[Step]) -> ColumnKind:
    """Return as what the model takes a column: what it holds, or what the first step of it says."""
    found: dict[str, ColumnKind] = {"number": "number", "text": "text", "time": "time"}
    for step in steps:
        if name not in step.columns:
            continue
        if isinstance(step, Cast) and step.to in found:
            return found[step.to]
        if isinstance(step, DateParts) and kind == "number":
            return "time"
        break
    return found[kind]


class ColumnPreparation:
    """Columns of numbers, texts and times, by fitted steps.

    Args:
        kinds: As what the model takes each column; columns that nothing is made of are left out.
        steps: In turn.
        features: What comes out, in order.
    """

    def __init__(self, kinds: dict[str, ColumnKind], steps: Sequence[FittedStep], features: tuple[str, ...]) -> None:
        used = {name for step in steps for name in step.takes if step.gives} | set(features)
        self._kinds = {name: kind for name, kind in kinds.items() if name in used}
        self._steps, self.features = tuple(steps), features
        self._is_plain = set(self._kinds.values()) == {"number"}
        self.inputs = _inputs(self._kinds, is_plain=self._is_plain)

    @classmethod
    def fit(cls, table: "pa.Table", kinds: dict[str, ColumnKind], steps: Sequence[Step]) -> "ColumnPreparation":
        """Fit the steps."""
        frame = Frame({name: column_of(table, name, kind) for name, kind in kinds.items()})
        fitted: list[FittedStep] = []
        for step in steps:
            for one in fit_step(step, frame):
                frame = one.after(frame)
                fitted.append(one)
        for name in frame.columns:
            if frame.kind_of(name) != "number":
                remedy = "one_hot" if frame.kind_of(name) == "text" else "date_parts"
                raise DataError(
                    f"transforming: the column {name} holds {frame.kind_of(name)}s after all steps; add the step "
                    f"`{remedy}` for it, or `drop`"
                )
        if not frame.columns:
            raise DataError("transforming: no column is left; drop fewer")
        return cls(kinds, fitted, tuple(frame.columns))

    @property
    def affine(self) -> None:
        """See `Preparation`: columns are chosen and ordered as well."""

    def arrays(self, table: "pa.Table") -> dict[str, Array]:
        """See `Preparation`."""
        frame = self._frame(table)
        if self._is_plain:
            return {FEATURES: frame.block(tuple(self._kinds))}
        return {name: column.reshape(-1, 1) for name, column in frame.columns.items()}

    def prepared(self, table: "pa.Table") -> Array:
        """See `Preparation`."""
        frame = self._frame(table)
        for step in self._steps:
            if set(step.takes) <= set(frame.columns):  # else it drops what is no input
                frame = step.after(frame)
        return np.asarray(frame.block(self.features), dtype=np.float32)

    def graph(self) -> Any | None:  # noqa: ANN401 - see `Preparation`
        """See `Preparation`."""
        writer = GraphWriter([*(one.name for one in self.inputs), PREPARED])
        tensors = {FEATURES: tuple(self._kinds)} if self._is_plain else {name: (name,) for name in self._kinds}
        frame = GraphFrame(writer, tensors)
        for step in self._steps:
            if set(step.takes) <= set(frame.order):
                step.append(writer, frame)
        return writer.model(self.inputs, frame.block(self.features), (len(self.features),), PREPARED)

    def _frame(self, table: "pa.Table") -> Frame:
        return Frame({name: column_of(table, name, kind) for name, kind in self._kinds.items()})


def _inputs(kinds: dict[str, ColumnKind], *, is_plain: bool) -> tuple[TensorSpec, ...]:
    if is_plain:
        return (TensorSpec(name=FEATURES, datatype="FP32", shape=(-1, len(kinds))),)
    taken = sorted({PREPARED, SCORES} & set(kinds))
    if taken:
        raise DataError(f"transforming: a column is called {taken[0]}, as a tensor of the model is; rename it")
    try:
        return tuple(TensorSpec(name=name, datatype=_DATATYPES[kind], shape=(-1, 1)) for name, kind in kinds.items())
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise DataError(f"transforming: a column's name can not be an input's: {reason}; rename it") from error
