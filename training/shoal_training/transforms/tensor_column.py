"""One column of tensors of one shape, such as images or windows of time, and steps that are done to each channel.

Channels lie along the last axis, as frameworks have them. A step is fitted on all values of a channel, whatever their
place in the others axes, and is done to each value by itself, so that the shape stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.preparation import PREPARED
from shoal_training.transforms.step import Affine, FittedStep, Step, fit_step

if TYPE_CHECKING:
    import pyarrow as pa

FITTED_VALUES: Final = 20_000_000
"""Steps are fitted on rows with about so many values, evenly drawn: these are copied in 64 bits."""


@dataclass(frozen=True)
class TensorColumn:
    """A fitted preparation of one column of tensors."""

    name: str
    inputs: tuple[TensorSpec, ...]
    steps: tuple[FittedStep, ...] = ()
    features: tuple[str, ...] = ()

    @classmethod
    def fit(cls, table: "pa.Table", name: str, steps: Sequence[Step]) -> "TensorColumn":
        """Take the shape of a column, and fit the steps on its channels.

        Raises:
            DataError: A step is none that keeps a tensor's shape, names other columns, or does not fit.
        """
        shape = tuple(int(size) for size in table[name].type.shape)
        column = cls(name, (TensorSpec(name=name, datatype="FP32", shape=(-1, *shape)),))
        if not steps:
            return column
        channels = tuple(f"{name}[{at}]" for at in range(shape[-1]))
        apart = max(1, len(table) * int(np.prod(shape)) // FITTED_VALUES)
        values = column._values(table.take(np.arange(0, len(table), apart))).reshape(-1, shape[-1])
        frame = Frame({channel: np.ascontiguousarray(values[:, at]) for at, channel in enumerate(channels)})
        fitted: list[FittedStep] = []
        for step in steps:
            for one in fit_step(_of_channels(step, name, channels), frame):
                if one.keeps or not one.takes == one.gives == channels:
                    raise DataError(
                        f"transforming: {step.kind} adds columns, and {name} holds a tensor a row, whose shape stays; "
                        "leave that out"
                    )
                frame = one.after(frame)
                fitted.append(one)
        return cls(name, column.inputs, tuple(fitted))

    @property
    def affine(self) -> Affine | None:
        """See `Preparation`."""
        channels = self.inputs[0].shape[-1]
        found = Affine((1.0,) * channels, (0.0,) * channels)
        for step in self.steps:
            if step.affine is None:
                return None
            found = found.then(step.affine)
        return found

    def arrays(self, table: "pa.Table") -> dict[str, Array]:
        """See `Preparation`."""
        return {self.name: self._values(table)}

    def prepared(self, table: "pa.Table") -> Array:
        """See `Preparation`."""
        values = self._values(table)
        flat = values.reshape(-1, values.shape[-1])
        with np.errstate(all="ignore"):  # as `FittedStep.after`
            for step in self.steps:
                flat = step.compute(flat)
        return np.asarray(flat, dtype=np.float32).reshape(values.shape)

    def graph(self) -> Any | None:  # noqa: ANN401 - see `Preparation`
        """See `Preparation`; constants of a channel each lie along the last axis of a tensor of any shape."""
        if not self.steps:
            return None
        writer = GraphWriter([self.name, PREPARED])
        tensor = self.name
        for step in self.steps:
            tensor = step.write(writer, tensor)
        return writer.model(self.inputs, tensor, self.inputs[0].shape[1:], PREPARED)

    def _values(self, table: "pa.Table") -> Array:
        chunk = table[self.name].combine_chunks()
        return np.asarray(chunk.to_numpy_ndarray(), dtype=np.float32)


def _of_channels(step: Step, name: str, channels: tuple[str, ...]) -> Step:
    """Return a step that names its column as one of that column's channels.

    Raises:
        DataError: It is none for tensors, or names another column.
    """
    if not step.keeps_shape:
        raise DataError(
            f"transforming: {step.kind}: the column {name} holds a tensor a row; steps for those are impute, "
            "standardize, min_max, robust, clip and log. Leave the step out"
        )
    unknown = [one for one in step.columns if one != name]
    if unknown:
        raise DataError(f"transforming: {step.kind}: there is no column {unknown[0]}, only {name}")
    return step.model_copy(update={"columns": channels})
