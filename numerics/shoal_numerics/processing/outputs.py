"""What a model's outputs mean: classes with labels, numbers, boxes; as columns, one value a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_contract.processing import Activation, BoxesOutput, ClassesOutput, NumbersOutput, Output
from shoal_numerics.processing.boxes import find_boxes
from shoal_numerics.processing.errors import ProcessingError
from shoal_numerics.processing.made import Placement
from shoal_numerics.tensors import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_output(
    name: str,
    meant: Output | None,
    outputs: Mapping[str, Array],
    labels: Sequence[str],
    placements: Sequence[Placement],
    input_size: tuple[int, int],
) -> dict[str, Array]:
    """Return what one output means.

    Args:
        name: The output.
        meant: What is declared of it; None: nothing, its values are given as they are.
        outputs: All outputs, each (samples, ...).
        labels: The classes' names.
        placements: For boxes: where each sample's image lies in the input.
        input_size: For boxes: width and height of that input, in pixels.

    Returns:
        Columns by name, each (samples,): numbers, text, or objects that are arrays where a sample has several values.

    Raises:
        ProcessingError: The output has another shape than what is declared asks for.
    """
    if meant is None:
        return {name: one_a_sample(outputs[name])}
    if isinstance(meant, ClassesOutput):
        return _classes(name, meant, outputs[name], labels)
    if isinstance(meant, NumbersOutput):
        return _numbers(name, meant, outputs[name])
    return _boxes(name, meant, outputs, labels, placements, input_size)


def activated(values: Array, activation: Activation) -> NDArray[np.float64]:
    """Return values as float64: as they are, by the logistic function, or by softmax over the last axis."""
    found = values.astype(np.float64)
    if activation == "sigmoid":
        # By its sign, so that the exponential never overflows.
        small = np.exp(-np.abs(found))
        return np.where(found >= 0, 1 / (1 + small), small / (1 + small))
    if activation == "softmax":
        exponentials = np.exp(found - found.max(axis=-1, keepdims=True))
        shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return shares
    return found


def one_a_sample(values: Array) -> Array:
    """Return (samples, ...) as (samples,): numbers where each has one, else objects that are flat arrays."""
    flat = values.reshape(len(values), -1)
    if flat.shape[1] == 1:
        return flat[:, 0]
    return ragged(list(flat))


def ragged(rows: Sequence[Any]) -> Array:
    """Return rows of any lengths as (samples,) objects."""
    column = np.empty(len(rows), dtype=np.object_)
    for place, row in enumerate(rows):
        column[place] = row
    return column


def _classes(name: str, meant: ClassesOutput, output: Array, labels: Sequence[str]) -> dict[str, Array]:
    if output.ndim < 2 or output.shape[1] != output.size // max(1, len(output)):  # noqa: PLR2004 - a batch of scores
        raise ProcessingError(f"reading output {name!r}: shape {list(output.shape)}, expected (batch, classes)")
    scores = activated(output.reshape(len(output), -1), meant.activation)
    # Stable on the negated scores: of equal ones the first comes first.
    order = np.argsort(-scores, axis=1, kind="stable")[:, : meant.top]
    best = np.take_along_axis(scores, order, axis=1).astype(np.float32)
    is_named = len(labels) == scores.shape[1]
    names = np.array(labels, dtype=np.object_)
    columns: dict[str, Array]
    if meant.top == 1 and meant.threshold is None:
        columns = {f"{name}.index": order[:, 0], f"{name}.score": best[:, 0]}
        if is_named:
            columns[f"{name}.label"] = names[order[:, 0]]
        return columns
    bar = -np.inf if meant.threshold is None else meant.threshold
    is_over = np.take_along_axis(scores, order, axis=1) >= bar
    kept = [one[over] for one, over in zip(order, is_over, strict=True)]
    columns = {
        f"{name}.indices": ragged(kept),
        f"{name}.scores": ragged([one[over] for one, over in zip(best, is_over, strict=True)]),
    }
    if is_named:
        columns[f"{name}.labels"] = ragged([names[one] for one in kept])
    return columns


def _numbers(name: str, meant: NumbersOutput, output: Array) -> dict[str, Array]:
    values = activated(output, meant.activation) * meant.scale + meant.offset
    if meant.low is not None or meant.high is not None:
        values = np.clip(values, meant.low, meant.high)
    columns = {name: one_a_sample(values.astype(np.float32))}
    if meant.threshold is not None:
        columns[f"{name}.reached"] = one_a_sample(values >= meant.threshold)
    return columns


def _boxes(
    name: str,
    meant: BoxesOutput,
    outputs: Mapping[str, Array],
    labels: Sequence[str],
    placements: Sequence[Placement],
    input_size: tuple[int, int],
) -> dict[str, Array]:
    places, scores = outputs[name], outputs[meant.scores]
    if places.ndim != 3 or places.shape[2] != 4 or scores.ndim != 3 or scores.shape[:2] != places.shape[:2]:  # noqa: PLR2004
        shapes = f"shapes {list(places.shape)} and {list(scores.shape)}"
        message = f"reading outputs {name!r} and {meant.scores!r}: {shapes}"
        raise ProcessingError(f"{message}, expected (batch, boxes, 4) and (batch, boxes, classes)")
    strong = activated(scores, meant.activation)
    found = [
        find_boxes(meant, places[place].astype(np.float64), strong[place], placement, input_size)
        for place, placement in enumerate(placements)
    ]
    columns = {
        name: ragged([one.corners for one in found]),
        f"{name}.indices": ragged([one.classes for one in found]),
        f"{name}.scores": ragged([one.scores for one in found]),
    }
    if len(labels) == scores.shape[2]:
        names = np.array(labels, dtype=np.object_)
        columns[f"{name}.labels"] = ragged([names[one.classes] for one in found])
    return columns
