"""The rows that go into a model as one matrix of columns, whichever tensors the model takes, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal_contract.manifest import TensorSpec
from shoal_training.explain.explanation import MOST_COLUMNS
from shoal_training.onnx_samples import Array


class Place(NamedTuple):
    """Where a column lies: its tensor, and its place in a row of that."""

    tensor: str
    at: int


@dataclass(frozen=True)
class ModelColumns:
    """The columns of a model's inputs.

    Attributes:
        names: Of the columns.
        places: Where each lies.
        shapes: Of one row of each tensor.
        doubles: Tensors of float64; other numbers are float32.
        texts: Distinct texts of the tensors that hold some, sorted: a text is a number by its place.
    """

    names: tuple[str, ...]
    places: tuple[Place, ...]
    shapes: Mapping[str, tuple[int, ...]]
    texts: Mapping[str, NDArray[np.str_]]
    doubles: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, inputs: Sequence[TensorSpec], names: Sequence[str], *rows: Mapping[str, Array]
    ) -> "ModelColumns | None":
        """Describe the columns; None: there are too many for each to be explained, as in a picture.

        Args:
            inputs: The model's.
            names: Of the table's columns that are learned from, in the order of a tensor that holds all of them.
            rows: All rows that will be looked at, by input; texts are taken from them.
        """
        shapes = {spec.name: tuple(int(size) for size in rows[0][spec.name].shape[1:]) for spec in inputs}
        sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
        if sum(sizes.values()) > MOST_COLUMNS:
            return None
        places = tuple(Place(name, at) for name, size in sizes.items() for at in range(size))
        texts = {
            spec.name: np.unique(np.concatenate([one[spec.name].ravel().astype(str) for one in rows]))
            for spec in inputs
            if rows[0][spec.name].dtype.kind in "OUS"
        }
        own = tuple(names) if len(names) == len(places) and len(inputs) == 1 else _names(places, sizes, shapes)
        return cls(own, places, shapes, texts, frozenset(spec.name for spec in inputs if spec.datatype == "FP64"))

    def matrix(self, arrays: Mapping[str, Array]) -> NDArray[np.float64]:
        """Return rows, (n, columns) float64."""
        parts = []
        for name in self.shapes:
            flat = arrays[name].reshape(len(arrays[name]), -1)
            known = self.texts.get(name)
            parts.append(flat if known is None else np.searchsorted(known, flat.astype(str)))
        return np.concatenate([part.astype(np.float64) for part in parts], axis=1)

    def arrays(self, matrix: NDArray[np.float64]) -> dict[str, Array]:
        """Return rows as the model's inputs."""
        found: dict[str, Array] = {}
        start = 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape, dtype=np.int64))
            flat = matrix[:, start : start + size]
            known = self.texts.get(name)
            if known is None:
                values = flat.astype(np.float64 if name in self.doubles else np.float32)
            else:
                values = known[np.rint(flat).astype(np.int64)].astype(object)
            found[name] = values.reshape(len(matrix), *shape)
            start += size
        return found


def _names(places: Sequence[Place], sizes: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return the tensor's name, with the place in it where it holds more than one column."""
    found = []
    for place in places:
        if sizes[place.tensor] == 1:
            found.append(place.tensor)
        else:
            index = np.unravel_index(place.at, shapes[place.tensor])
            found.append(f"{place.tensor}[{','.join(str(int(one)) for one in index)}]")
    return tuple(found)
