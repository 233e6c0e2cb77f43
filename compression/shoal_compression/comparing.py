"""Compares what two models say: accuracy, agreement, signal to noise, and paired differences with their intervals."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from shoal_numerics.class_choice import chosen_classes, score_cut
from shoal_numerics.tensors import Array

Z_95: Final = 1.959964
"""The normal distribution's 97.5 % quantile."""
MAX_SQNR_DB: Final = 200.0
"""What is said of outputs that are the same."""


class Difference(NamedTuple):
    """A difference of two shares that were counted on the same samples, with its 95 % interval."""

    value: float
    low: float
    high: float


def classes_of(outputs: Array, like: Array | None = None) -> npt.NDArray[np.int64]:
    """Return the class of each row: (n,) of scores (n, classes), of one score (n, 1) or (n,) whether it is positive.

    A single score is a probability where all lie in 0..1, and is cut at 0.5; otherwise it is a logit, and is cut at 0.
    A single column of integers or booleans is taken as the class itself.

    Args:
        outputs: The scores.
        like: The source's scores of the same samples, which say where single ones are cut; None: `outputs` do.
    """
    return chosen_classes(outputs, None if like is None else score_cut(like))


def accuracy(outputs: Array, labels: Array, like: Array | None = None) -> float:
    """Return the share (0..1) of rows whose class, by `classes_of`, is the label; labels (n,) or (n, 1)."""
    return float((classes_of(outputs, like) == labels.reshape(-1)).mean())


def agreement(reference: Array, found: Array) -> float:
    """Return the share (0..1) of rows for which both name the same class; single scores are cut as `reference` says."""
    return float((classes_of(reference) == classes_of(found, reference)).mean())


def sqnr_db(reference: Array, found: Array) -> float:
    """Return the signal-to-quantization-noise ratio in dB: 10 log10 of Σ reference² / Σ (reference - found)²."""
    signal = np.asarray(reference, np.float64)
    noise = signal - np.asarray(found, np.float64)
    return sqnr_of_powers(float((signal**2).sum()), float((noise**2).sum()))


def sqnr_of_powers(power: float, error: float) -> float:
    """Return the same of the two sums of squares."""
    if error == 0 or not np.isfinite(error):
        return MAX_SQNR_DB if error == 0 else -MAX_SQNR_DB
    return float(np.clip(10 * np.log10(max(power, np.finfo(float).tiny) / error), -MAX_SQNR_DB, MAX_SQNR_DB))


def slice_accuracies(
    outputs: Array, labels: Array, slices: Mapping[str, Array], like: Array | None = None
) -> dict[str, float]:
    """Return the accuracy (0..1) by `slice=value`.

    Args:
        outputs: Scores as `classes_of` takes, (n, …).
        labels: Classes, (n,) or (n, 1) integers or booleans.
        slices: By name, (n,) of what each row belongs to.
        like: As of `classes_of`.
    """
    right = classes_of(outputs, like) == labels.reshape(-1)
    return {
        f"{name}={value}": float(right[values == value].mean())
        for name, values in sorted(slices.items())
        for value in np.unique(values)
    }


def paired_difference(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Difference:
    """Return by how much more often `second` is right than `first`, both (n,) on the same samples.

    The interval is Wald's for paired shares with Agresti's and Min's correction: half a pair is added to each of the
    four cells (Agresti and Min 2005, Statistics in Medicine 24).
    """
    gained = int((second & ~first).sum()) + 0.5
    lost = int((first & ~second).sum()) + 0.5
    n = len(first) + 2.0
    centre = (gained - lost) / n
    spread = Z_95 * float(np.sqrt((gained + lost) - (gained - lost) ** 2 / n)) / n
    return Difference(float(second.mean() - first.mean()), centre - spread, centre + spread)
