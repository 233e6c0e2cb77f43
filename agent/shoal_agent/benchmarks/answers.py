"""What a candidate answers, and how it stands beside the first candidate, which leaves its answers for the others.

The first candidate's file of answers lies in the benchmark's folder: it outlives the agent, as what was measured does.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_agent.durable import replace_file
from shoal_contract.benchmarks import MAX_POWER, Paired

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from shoal_numerics.tensors import Array

MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
"""Of outputs that are kept to be compared; of large ones, those of fewer samples."""


@dataclass(frozen=True)
class Answers:
    """Answers to the first samples, in their order.

    Attributes:
        classes: The class of each by the first output, (n,).
        right: Whether it is the label's, (n,); None: the samples have no classes as labels.
        outputs: All that is a float, of all outputs, row by row: (k, values) of the first k samples, for which there is
            room.
        cut: Above which a single score is positive; the first candidate's answers say it for all.
    """

    classes: NDArray[np.int64]
    right: NDArray[np.bool_] | None
    outputs: Array
    cut: float = 0.0

    def __len__(self) -> int:
        """Return how many samples were answered."""
        return len(self.classes)

    def keep(self, path: Path) -> None:
        """Leave them for the other candidates, whole or not at all.

        Raises:
            OSError: The disk does not take them.
        """
        arrays = {"classes": self.classes, "outputs": self.outputs, "cut": np.asarray(self.cut)}
        written = io.BytesIO()
        np.savez(written, **(arrays if self.right is None else arrays | {"right": self.right}))  # type: ignore[arg-type]
        replace_file(path, written.getvalue())


def kept_answers(path: Path) -> Answers | None:
    """Return what the first candidate has left; None where it could not be run, or its file can not be read."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            return Answers(found["classes"], found.get("right"), found["outputs"], float(found["cut"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def row_of(outputs: Mapping[str, Array], *, is_batched: bool) -> Array:
    """Return the floats of all outputs of a request as (samples, values); of all outputs where none has floats."""
    arrays = [array if is_batched else array[np.newaxis] for _, array in sorted(outputs.items())]
    floats = [array for array in arrays if array.dtype.kind == "f"] or arrays
    return np.concatenate([array.reshape(len(array), -1) for array in floats], axis=1)


def agreed_with(first: Answers, mine: Answers) -> int:
    """Return of how many samples that both have answered both have one class."""
    most = min(len(first), len(mine))
    return int((first.classes[:most] == mine.classes[:most]).sum())


def paired_with(first: Answers, mine: Answers) -> Paired:
    """Return how answers stand beside the first candidate's: on the samples that both have answered, and no others."""
    most = min(len(first), len(mine))
    has_labels = first.right is not None and mine.right is not None
    signal, noise = _powers(first.outputs, mine.outputs)
    return Paired(
        samples=most,
        right=int(mine.right[:most].sum()) if has_labels and mine.right is not None else None,
        first_right=int(first.right[:most].sum()) if has_labels and first.right is not None else None,
        signal=signal,
        noise=noise,
    )


def _powers(first: Array, mine: Array) -> tuple[float | None, float | None]:
    """Return the sums of squares of what was expected and of what differs; None where shapes have nothing in common."""
    rows = min(len(first), len(mine))
    if not rows or first.shape[1] != mine.shape[1]:
        return None, None
    wanted, found = first[:rows].astype(np.float64), mine[:rows].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return _bounded(np.square(wanted).sum()), _bounded(np.square(wanted - found).sum())


def _bounded(power: np.float64) -> float:
    return min(float(power), MAX_POWER) if np.isfinite(power) else MAX_POWER
