"""What is measured of a model's scores on rows with known answers."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from shoal_numerics.class_choice import chosen_classes
from shoal_training.errors import DataError
from shoal_training.frameworks.trainer import Task
from shoal_training.onnx_samples import Array

Metric = Callable[[Array, Array], float]
"""Of the truth, (n,), and the scores, see `Task`."""


def accuracy(truth: Array, scores: Array) -> float:
    """Return the share (0..1) of rows whose highest score is the label's."""
    return float((chosen_classes(scores) == truth).mean())


def mean_absolute_error(truth: Array, scores: Array) -> float:
    """Return the mean distance of scores and truth, 0 or more, in the target's unit."""
    return float(np.abs(scores - truth).mean())


BY_TASK: Final[Mapping[Task, Mapping[str, Metric]]] = {
    "classification": {"accuracy": accuracy},
    "regression": {"mean_absolute_error": mean_absolute_error},
    "anomaly": {},
}
"""By task and name; all of a task's are measured."""


def measure(task: Task, truth: Array, scores: Array) -> dict[str, float]:
    """Return every metric of the task.

    Raises:
        DataError: There are no rows, or not one score a row.
    """
    if len(truth) == 0 or len(truth) != len(scores):
        raise DataError(f"evaluating: {len(scores)} scores for {len(truth)} rows with a known answer")
    return {name: metric(truth, scores) for name, metric in BY_TASK[task].items()}
