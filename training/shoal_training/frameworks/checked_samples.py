"""Sees that samples can be learned from, before a framework says it in its own words, or not at all."""

from typing import Final

import numpy as np

from shoal_training.errors import DataError
from shoal_training.frameworks.trainer import Samples, TrainContext
from shoal_training.onnx_samples import Array

LEAST_ROWS: Final = 2


def check_samples(train: Samples, held_out: Samples | None, context: TrainContext, *, is_flat: bool = False) -> None:
    """See that samples to learn from and those to measure on fit each other and the task.

    Raises:
        DataError: They do not, or are no rows of numbers where they have to be flat; rows are counted from 0.
    """
    if len(train) < LEAST_ROWS:
        raise DataError(f"training: {len(train)} rows found, expected {LEAST_ROWS} or more; give more data")
    if is_flat and train.x.ndim != LEAST_ROWS:
        raise DataError(
            f"training: samples of shape {train.x.shape[1:]} found, expected a row of numbers each; "
            "name a framework with networks (torch, keras), or make features of them"
        )
    if held_out is not None and held_out.x.shape[1:] != train.x.shape[1:]:
        raise DataError(
            f"training: rows held out of shape {held_out.x.shape[1:]} found, those to learn from have "
            f"{train.x.shape[1:]}; prepare both in the same way"
        )
    for what, samples in (("learned from", train), ("held out", held_out)):
        if samples is not None:
            _check_finite(samples.x, f"rows {what}")
            _check_weights(samples, what)
            if context.task != "anomaly":
                _check_truth(samples, what, context)
    if context.task == "classification" and train.y is not None:
        _check_classes(train.y, context.classes)


def _check_finite(array: Array, what: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        row, *place = (int(at[0]) for at in np.nonzero(~finite))
        where = f" at {', '.join(map(str, place))}" if place else ""
        raise DataError(
            f"training: {what}: row {row} has {array[(row, *place)]}{where}, expected finite numbers; add a step "
            "`impute`, or a check that quarantines such rows"
        )


def _check_weights(samples: Samples, what: str) -> None:
    weight = samples.weight
    if weight is None:
        return
    if weight.shape != (len(samples),):
        raise DataError(f"training: {len(samples)} rows {what} and weights of shape {weight.shape}; give one a row")
    if not (np.isfinite(weight).all() and (weight > 0).all()):
        row = int(np.flatnonzero(~(np.isfinite(weight) & (weight > 0)))[0])
        raise DataError(f"training: row {row} {what} weighs {weight[row]}, expected a number above 0; leave it out")


def _check_truth(samples: Samples, what: str, context: TrainContext) -> None:
    y = samples.y
    if y is None or y.shape != (len(samples),):
        found = "no answers" if y is None else f"answers of shape {y.shape}"
        raise DataError(f"training: {len(samples)} rows {what} and {found}; expected one a row")
    if context.task == "regression":
        _check_finite(y, f"answers of rows {what}")
    elif y.dtype.kind not in "iu" or int(y.min(initial=0)) < 0 or int(y.max(initial=0)) >= context.classes:
        raise DataError(
            f"training: answers of rows {what} are {y.dtype} from {y.min()} to {y.max()}, expected places of "
            f"{context.classes} classes, whole numbers from 0"
        )


def _check_classes(y: Array, classes: int) -> None:
    found = np.bincount(y, minlength=classes)
    if np.count_nonzero(found) < 2:  # noqa: PLR2004 - else there is nothing to tell apart
        raise DataError(
            f"training: all {len(y)} rows are of class {int(np.argmax(found))}, expected two classes or more; "
            "give rows of the others"
        )
    if not found.all():
        raise DataError(
            f"training: no row of class {int(np.flatnonzero(found == 0)[0])} to learn from, expected some of each of "
            f"the {classes}; give more rows of it, or leave its label out"
        )
