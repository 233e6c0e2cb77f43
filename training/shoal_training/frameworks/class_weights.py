"""What a row weighs in the loss: its own weight by that of its class."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.frameworks.trainer import Samples, TrainContext
from shoal_training.onnx_samples import Array

ClassWeights = Literal["balanced"] | tuple[Annotated[float, Field(gt=0)], ...] | None
"""`balanced`: each class weighs the same, whatever its number of rows; or a number by class, in the labels' order."""


def row_weights(train: Samples, weights: ClassWeights, context: TrainContext) -> Array | None:
    """Return what each row weighs, (n,) float32; None: all the same.

    Raises:
        DataError: Weights of classes are given for a task without, or not one a class.
    """
    if weights is None:
        return train.weight
    if context.task != "classification" or train.y is None:
        raise DataError(f"training: `class_weights` for a {context.task}, expected a classification; leave them out")
    if weights == "balanced":
        counts = np.bincount(train.y, minlength=context.classes)
        by_class = len(train) / (context.classes * np.maximum(counts, 1))
    else:
        by_class = np.asarray(weights, dtype=np.float64)
    if len(by_class) != context.classes:
        raise DataError(f"training: {len(by_class)} class weights for {context.classes} classes; give one a class")
    own = 1.0 if train.weight is None else train.weight
    return np.asarray(by_class[train.y] * own, dtype=np.float32)
