"""What a step of a transformation is: fields that say what is done to columns; fitted, it is done in two ways alike.

A step is data, from a pipeline file. The kinds are in `steps`; `fit_preparation` fits them one after the other.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from shoal_compression.values import Value
from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import ColumnKind, Frame
from shoal_training.transforms.graph_writer import GraphFrame, GraphWriter


class Affine(NamedTuple):
    """A number times a factor, and a shift; of each column or channel its own."""

    factor: tuple[float, ...]
    shift: tuple[float, ...]

    def then(self, after: "Affine") -> "Affine":
        """Return both, one after the other."""
        factors = tuple(one * two for one, two in zip(self.factor, after.factor, strict=True))
        return Affine(factors, tuple(s * f + t for s, f, t in zip(self.shift, after.factor, after.shift, strict=True)))


@dataclass(frozen=True)
class FittedStep:
    """A step whose numbers are known.

    Attributes:
        takes: Columns that it is computed of, of one kind.
        gives: Columns that it makes.
        compute: From (rows, takes) to (rows, gives); of a table.
        write: The same in a graph: from the tensor's name to that of the result.
        keeps: Whether what it takes stays beside what it makes.
        affine: What it computes, if that is a factor and a shift of each column; None: it is something else.
    """

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    compute: Callable[[Array], Array]
    write: Callable[[GraphWriter, str], str]
    keeps: bool = False
    affine: Affine | None = None

    def after(self, frame: Frame) -> Frame:
        """Return the frame after it."""
        with np.errstate(all="ignore"):  # infinities and NaN go through as they do on a device
            block = self.compute(frame.block(self.takes)) if self.gives else None
        return frame.replaced(self.takes, self.gives, block, keeps=self.keeps)

    def append(self, writer: GraphWriter, frame: GraphFrame) -> None:
        """Write it behind what is in the graph."""
        tensor = self.write(writer, frame.block(self.takes)) if self.gives else None
        frame.replace(self.takes, self.gives, tensor, keeps=self.keeps)


class Step(Value, ABC):
    """Something that is done to columns. Subclasses name their `kind`, declare fields, and fit."""

    kind: ClassVar[str]
    """By which a pipeline file names it."""
    takes: ClassVar[frozenset[ColumnKind]] = frozenset({"number"})
    """Kinds of columns that it can be done to."""
    keeps_shape: ClassVar[bool] = False
    """Whether it is done to each number by itself, so that it can be done to tensors as well."""

    columns: tuple[str, ...] = ()
    """That it is done to; empty: all of the first kind that it takes."""

    @abstractmethod
    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """Fit it on columns.

        Args:
            frame: The rows that are learned from, as steps before have left them.
            names: The columns, of kinds that it takes; at least one.

        Returns:
            What is done, in turn.

        Raises:
            DataError: It can not be fitted on them.
        """

    def chosen(self, frame: Frame) -> tuple[str, ...]:
        """Return the columns that it is done to where a file names none."""
        return frame.named(self.takes)


def fit_step(step: Step, frame: Frame) -> tuple[FittedStep, ...]:
    """Fit a step on the columns that it names.

    Raises:
        DataError: There is no such column, it is of another kind, or the step does not fit it.
    """
    names = step.columns or step.chosen(frame)
    unknown = [name for name in names if name not in frame.columns]
    if unknown:
        there = ", ".join(frame.columns)
        raise DataError(f"transforming: {step.kind}: there is no column {', '.join(unknown)} by then, only {there}")
    if len(set(names)) < len(names):
        raise DataError(f"transforming: {step.kind}: a column is named twice; name it once")
    for name in names:
        kind = frame.kind_of(name)
        if kind not in step.takes:
            raise DataError(
                f"transforming: {step.kind}: the column {name} holds {kind}s, expected "
                f"{' or '.join(sorted(step.takes))}s; {_REMEDIES[kind]}"
            )
    try:
        return step.fit(frame, names) if names else ()
    except (TypeError, ValueError) as error:  # scikit-learn's
        raise DataError(f"transforming: {step.kind} of {', '.join(names)}: {error}") from error


_REMEDIES: dict[ColumnKind, str] = {
    "text": "make numbers of it before, by `one_hot`, `ordinal`, `hash` or `cast`",
    "time": "make numbers of it before, by `date_parts`",
    "number": "name a column of those",
}


def numbers_to_fit(step: Step, frame: Frame, names: Sequence[str]) -> Array:
    """Return columns of numbers to fit on, (rows, names) float64; NaN where one is missing.

    Raises:
        DataError: A column has an infinite number, or none at all.
    """
    block = frame.block(names).astype(np.float64)
    for at, name in enumerate(names):
        infinite = int(np.isinf(block[:, at]).sum())
        if infinite:
            raise DataError(
                f"transforming: {step.kind}: {infinite} of {len(block)} rows have an infinite {name}; bound it by the "
                "step `clip` before, or leave such rows out by the check `range` with the action `quarantine`"
            )
        if np.isnan(block[:, at]).all():
            raise DataError(f"transforming: {step.kind}: the column {name} holds no number in any row; leave it out")
    return block
