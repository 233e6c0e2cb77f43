"""Measures a model on rows that were held out: all metrics with intervals, by class and by slice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_numerics.class_choice import chosen_classes
from shoal_training.evaluation.calibration import reliability
from shoal_training.evaluation.classification_metrics import are_probabilities, class_areas
from shoal_training.evaluation.curves import answers_of, curves_of, curves_of_one
from shoal_training.evaluation.intervals import RESAMPLES, intervals
from shoal_training.evaluation.metric import Metric
from shoal_training.evaluation.metrics import metrics_of, values_of
from shoal_training.evaluation.result import ClassFigures, EvaluationResult, Figure, Reliability, SliceFigures
from shoal_training.evaluation.slicing import SMALL_ROWS, SlicedColumn
from shoal_training.frameworks.trainer import Task
from shoal_training.onnx_samples import Array

if TYPE_CHECKING:
    import pyarrow as pa

_SLICE_RESAMPLES: Final = 500
_MOST_CONFUSED: Final = 100
"""Classes of a confusion matrix."""


@dataclass(frozen=True)
class HeldOut:
    """What is measured.

    Attributes:
        task: What is learned.
        table: All columns of the rows that were held out.
        truth: (n,), see `Samples.y`; None: no answers are known.
        scores: The written model's, see `Task`.
        labels: Of a classification.
    """

    task: Task
    table: "pa.Table"
    truth: Array | None
    scores: Array
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What is asked of an evaluation.

    Attributes:
        custom: Metrics beside the task's.
        slices: Columns whose parts are measured.
        seed: Of what is drawn.
        resamples: For intervals.
        threshold: Of an anomaly's scores; None: nothing that depends on one.
    """

    custom: Sequence[Metric] = ()
    slices: Sequence[SlicedColumn] = ()
    seed: int = 0
    resamples: int = RESAMPLES
    threshold: float | None = None

    def metrics(self, task: Task) -> tuple[Metric, ...]:
        """Return all that is measured; one of the user's own may stand in for one of the task's."""
        own = {one.name for one in self.custom}
        return (*(one for one in metrics_of(task, self.threshold) if one.name not in own), *self.custom)


def evaluate(held: HeldOut, asked: Asked) -> EvaluationResult:
    """Measure a model.

    Raises:
        DataError: There are no rows, a score is no number, or a slice or a custom metric can not be had.
    """
    if held.truth is None:
        note = "the rows have no answers, so that nothing could be measured"
        return EvaluationResult(
            task=held.task, rows=len(held.scores), metrics={}, threshold=asked.threshold, notes=(note,)
        )
    metrics = asked.metrics(held.task)
    figures = _figures(metrics, held.truth, held.scores, asked.seed, asked.resamples)
    plain = EvaluationResult(
        task=held.task,
        rows=len(held.scores),
        metrics={one.name: one.value for one in figures},
        figures=figures,
        labels=held.labels,
        threshold=asked.threshold,
        slices=tuple(_slices(held, held.truth, metrics, asked)),
        notes=_notes(held, held.truth, metrics, {one.name for one in figures}),
    )
    match held.task:
        case "classification":
            return plain.model_copy(update=_of_classes(held, held.truth))
        case "regression":
            return plain.model_copy(update={"answers": answers_of(held.truth, held.scores, asked.seed)})
        case "anomaly":
            pair = curves_of_one("anomaly", held.truth > 0.5, held.scores)  # noqa: PLR2004 - between 0 and 1
            return plain if pair is None else plain.model_copy(update={"roc": pair[:1], "precision_recall": pair[1:]})


def _figures(metrics: Sequence[Metric], truth: Array, scores: Array, seed: int, resamples: int) -> tuple[Figure, ...]:
    values = values_of(tuple(metrics), truth, scores)
    known = [one for one in metrics if one.name in values]
    found = intervals(known, truth, scores, seed=seed, resamples=resamples) if resamples else {}
    return tuple(
        Figure(
            name=one.name,
            value=values[one.name],
            low=found[one.name].low if one.name in found else None,
            high=found[one.name].high if one.name in found else None,
            is_rising=one.is_rising,
        )
        for one in known
    )


def _slices(held: HeldOut, truth: Array, metrics: Sequence[Metric], asked: Asked) -> list[SliceFigures]:
    found = []
    resamples = min(asked.resamples, _SLICE_RESAMPLES)
    for column in asked.slices:
        for part in column.parts(held.table):
            rows = int(part.is_in.sum())
            figures = _figures(metrics, truth[part.is_in], held.scores[part.is_in], asked.seed, resamples)
            condition = {"low": part.low, "high": part.high, "equals": part.equals}
            made = SliceFigures(
                name=part.name,
                column=part.column,
                rows=rows,
                is_small=rows < SMALL_ROWS,
                figures=figures,
                **condition,
            )
            found.append(made)
    return found


def _of_classes(held: HeldOut, truth: Array) -> dict[str, object]:
    """Return what stands in a result of a classification besides."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    places, chosen = np.arange(len(held.labels)), chosen_classes(held.scores)
    precision, recall, f1, rows = precision_recall_fscore_support(truth, chosen, labels=places, zero_division=0.0)
    areas = class_areas(truth, held.scores)
    roc, precision_recall = curves_of(truth, held.scores, held.labels)
    is_shown = len(places) <= _MOST_CONFUSED
    confusion = confusion_matrix(truth, chosen, labels=places).tolist() if is_shown else []
    return {
        "classes": tuple(
            ClassFigures(
                label=held.labels[at],
                rows=int(rows[at]),
                precision=float(precision[at]),
                recall=float(recall[at]),
                f1=float(f1[at]),
                auc_roc=None if np.isnan(areas[at]) else float(areas[at]),
            )
            for at in places
        ),
        "confusion": tuple(tuple(row) for row in confusion),
        "reliability": tuple(Reliability(**one._asdict()) for one in reliability(truth, held.scores))
        if are_probabilities(held.scores)
        else (),
        "roc": roc,
        "precision_recall": precision_recall,
    }


def _notes(held: HeldOut, truth: Array, metrics: Sequence[Metric], known: set[str]) -> tuple[str, ...]:
    notes = []
    left_out = [one.name for one in metrics if one.name not in known]
    if left_out:
        notes.append(f"not defined on these rows, and so not measured: {', '.join(left_out)}")
    if held.task == "classification":
        absent = [held.labels[at] for at in np.setdiff1d(np.arange(len(held.labels)), truth)]
        if absent:
            notes.append(f"no row that was held out is of the class {', '.join(absent[:8])}")
    if len(truth) < SMALL_ROWS:
        notes.append(f"only {len(truth)} rows were held out: the figures say little")
    return tuple(notes)
