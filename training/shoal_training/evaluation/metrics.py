"""What is measured of a model's scores on rows with known answers, by what the model learns."""

import math

from shoal_training.errors import DataError
from shoal_training.evaluation.anomaly_metrics import anomaly_metrics
from shoal_training.evaluation.classification_metrics import CLASSIFICATION
from shoal_training.evaluation.metric import Metric
from shoal_training.evaluation.regression_metrics import REGRESSION
from shoal_training.frameworks.trainer import Task
from shoal_training.onnx_samples import Array

__all__ = ["Metric", "main_metric", "measure", "metrics_of", "values_of"]


def metrics_of(task: Task, threshold: float | None = None) -> tuple[Metric, ...]:
    """Return all metrics of a task.

    Args:
        task: What is learned.
        threshold: Of an anomaly's scores; None: nothing that depends on one.
    """
    match task:
        case "classification":
            return CLASSIFICATION
        case "regression":
            return REGRESSION
        case "anomaly":
            return anomaly_metrics(threshold)


def main_metric(task: Task) -> Metric:
    """Return the metric that a model is judged by where nothing is said."""
    named = {"classification": "accuracy", "regression": "root_mean_squared_error", "anomaly": "average_precision"}
    return next(one for one in metrics_of(task) if one.name == named[task])


def measure(task: Task, truth: Array, scores: Array) -> dict[str, float]:
    """Return every metric of the task that is defined on these rows.

    Raises:
        DataError: There are no rows, not one score a row, or a score is no number.
    """
    return values_of(metrics_of(task), truth, scores)


def values_of(metrics: tuple[Metric, ...], truth: Array, scores: Array) -> dict[str, float]:
    """Return the metrics that are defined on these rows by name; see `measure`."""
    if len(truth) == 0 or len(truth) != len(scores):
        raise DataError(
            f"evaluating: {len(scores)} scores for {len(truth)} rows with a known answer, expected one each, of one "
            "row at least; hold more rows out"
        )
    odd = int((scores != scores).reshape(len(scores), -1).any(axis=1).sum())  # noqa: PLR0124 - NaN alone is not itself
    if odd:
        raise DataError(
            f"evaluating: {odd} of {len(scores)} rows have a score that is no number; fill in what is missing by a "
            "step, or train with a smaller learning rate"
        )
    found = {metric.name: metric.value(truth, scores) for metric in metrics}
    return {name: value for name, value in found.items() if math.isfinite(value)}
