"""Sees that labels are what a model's answers can be compared with: its classes as integers from 0, or numbers."""

from math import prod
from typing import Final

import numpy as np

from shoal_compression.errors import DataError
from shoal_compression.model import Model
from shoal_numerics.tensors import Array

_AS_CLASSES: Final = "give the class of each sample as an integer from 0: y.astype(int), or y.argmax(axis=1) if one-hot"


def check_labels(labels: Array, model: Model, doing: str) -> None:
    """See that labels are (n,) or (n, 1) numbers, and classes of the first output where they are integers.

    Floats are what a model of numbers was to answer, also as (n, …) in the shape of its answers. One column of answers
    is of two classes or a number; beside several, whole numbers as floats are classes of which nobody said so.

    Raises:
        DataError: They are not; it says how to give them.
    """
    doing = f"{doing}: labels"
    output = model.outputs[0]
    shape = output.shape[1:] if model.is_batched else output.shape
    if labels.dtype.kind not in "iubf":
        raise DataError(f"{doing}: {labels.dtype} found, expected numbers; {_AS_CLASSES}")
    check_finite(labels, doing)
    is_whole = labels.dtype.kind != "f" or not (labels % 1).any()
    is_answer = labels.dtype.kind == "f" and _fits(labels.shape[1:], shape) and not _is_one_hot(labels)
    if labels.shape[1:] not in {(), (1,)} and not is_answer:
        raise DataError(f"{doing}: shape {list(labels.shape)} found, expected one for each sample; {_AS_CLASSES}")
    answers = -1 if -1 in shape else prod(shape)
    if labels.dtype.kind == "f":
        if is_whole and answers > 1 and not is_answer:
            found = f"{labels.dtype} found beside {answers} outputs, expected integers"
            raise DataError(f"{doing}: {found}; {_AS_CLASSES}")
        return
    _check_range(labels, answers, doing, is_class=answers == 1 and output.datatype[:2] not in {"FP", "BF"})


def _check_range(labels: Array, answers: int, doing: str, *, is_class: bool) -> None:
    """See that integers are among the classes: as many as there are answers, two of one score, any that is said."""
    if is_class:
        return
    low, high = int(labels.min()), int(labels.max())
    most = 1 if answers == 1 else answers - 1
    if low >= 0 and (answers < 0 or high <= most) and not (labels.dtype.kind == "b" and most > 1):
        return
    found = f"{labels.dtype} {low} to {high} found beside {'one output' if answers == 1 else f'{answers} outputs'}"
    expected = "expected 0 or more" if answers < 0 else f"expected 0 to {most}"
    remedy = "; where they are numbers and no classes, give floats" if answers == 1 else " in the order of the outputs"
    raise DataError(f"{doing}: {found}, {expected}; number the classes from 0{remedy}")


def _fits(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(found) == len(shape) and all(b in {-1, a} for a, b in zip(found, shape, strict=True))


def _is_one_hot(labels: Array) -> bool:
    return labels.ndim > 1 and bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=-1) == 1).all())


def check_finite(array: Array, doing: str) -> None:
    """See that (n, …) floats are finite.

    Raises:
        DataError: They are not; it says in which rows.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        raise DataError(f"{doing}: NaN or infinity in {len(rows)} samples, first {rows[0]}; leave them out")
