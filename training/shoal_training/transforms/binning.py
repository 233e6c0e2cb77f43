"""The step that makes bins of numbers."""

import warnings
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.step import FittedStep, Step, numbers_to_fit


class Bin(Step):
    """Puts a number's bin in its place, counted from 0; a missing one stays missing, or is in none of the columns."""

    kind: ClassVar[str] = "bin"

    bins: int = Field(default=5, ge=2, le=256)
    strategy: Literal["quantile", "uniform", "kmeans"] = "quantile"
    """Bins that hold as many rows, that are as wide, or whose values lie nearest to one centre."""
    encode: Literal["ordinal", "one_hot"] = "ordinal"

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        block = numbers_to_fit(self, frame, names)
        edges = [self._edges(name, block[:, at]) for at, name in enumerate(names)]
        if self.encode == "ordinal":
            return (_ordinal(names, edges),)
        return tuple(_one_hot(name, found) for name, found in zip(names, edges, strict=True))

    def _edges(self, name: str, column: Array) -> Array:
        """Return the edges between bins, rising."""
        from sklearn.preprocessing import KBinsDiscretizer

        values = column[~np.isnan(column)].reshape(-1, 1)
        if values.min() == values.max():
            raise DataError(
                f"transforming: bin: {name} is {values[0, 0]:g} in every row, which makes no bins; leave it out"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bins that are joined, as a value that is frequent asks for
            fitted = KBinsDiscretizer(
                min(self.bins, len(values)), encode="ordinal", strategy=self.strategy, random_state=0
            ).fit(values)
        return np.asarray(fitted.bin_edges_[0][1:-1], dtype=np.float64)


def _ordinal(names: tuple[str, ...], edges: list[Array]) -> FittedStep:
    def compute(block: Array) -> Array:
        places = [np.searchsorted(found, block[:, at], side="right") for at, found in enumerate(edges)]
        return np.where(np.isnan(block), np.float32(np.nan), np.stack(places, axis=1).astype(np.float32))

    def write(writer: GraphWriter, tensor: str) -> str:
        return writer.add("Where", writer.add("IsNaN", tensor), tensor, _counted(writer, tensor, edges))

    return FittedStep(names, names, compute, write)


def _one_hot(name: str, edges: Array) -> FittedStep:
    places = np.arange(len(edges) + 1, dtype=np.float32)

    def compute(block: Array) -> Array:
        found = np.where(np.isnan(block), -1, np.searchsorted(edges, block, side="right"))
        return np.asarray(found == places, dtype=np.float32)

    def write(writer: GraphWriter, tensor: str) -> str:
        none = writer.constant([-1.0], np.float32)
        found = writer.add("Where", writer.add("IsNaN", tensor), none, _counted(writer, tensor, [edges]))
        return writer.cast(writer.add("Equal", found, writer.constant(places, np.float32)), np.float32)

    return FittedStep((name,), tuple(f"{name}={at}" for at in range(len(places))), compute, write)


def _counted(writer: GraphWriter, tensor: str, edges: list[Array]) -> str:
    """Write how many edges lie at or below each number, (rows, columns) float32."""
    # NaN pads: nothing is at or above it, an infinity neither.
    table = np.full((len(edges), max(map(len, edges))), np.nan)
    for at, found in enumerate(edges):
        table[at, : len(found)] = found
    wide = writer.add("Unsqueeze", writer.cast(tensor, np.float64), writer.constant([2], np.int64))
    above = writer.add("GreaterOrEqual", wide, writer.constant(table, np.float64))
    return writer.add("ReduceSum", writer.cast(above, np.float32), writer.constant([2], np.int64), keepdims=0)
