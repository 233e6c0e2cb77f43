"""Explains a written model on rows that were held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_contract.manifest import TensorSpec
from shoal_training.evaluation.metric import Metric
from shoal_training.explain.columns import ModelColumns
from shoal_training.explain.explanation import MOST_COLUMNS, Explanation, ExplanationResult, Importance, ShapPoints
from shoal_training.explain.permutation import permutation_importance
from shoal_training.explain.shap_values import ShapValues, shap_values
from shoal_training.onnx_samples import Array, OnnxModel

MOST_DRAWN: Final = 15
"""Columns of a picture of SHAP values."""


@dataclass(frozen=True)
class Explained:
    """What is explained.

    Attributes:
        path: The ONNX file.
        output: Its output of scores.
        inputs: Its inputs.
        names: The table's columns that are learned from.
        held_out: Rows by input.
        truth: Of these rows; None: there is none.
        learned: Rows that were learned from, by input.
    """

    path: Path
    output: str
    inputs: Sequence[TensorSpec]
    names: Sequence[str]
    held_out: Mapping[str, Array]
    truth: Array | None
    learned: Mapping[str, Array]


def explain(what: Explained, asked: Explanation, metric: Metric, seed: int = 0) -> ExplanationResult:
    """Explain a model by the methods that are asked for.

    Args:
        what: The model and its rows.
        asked: Methods and bounds.
        metric: That permutation importance is in the unit of.
        seed: Of what is drawn.

    Raises:
        MissingLibraryError: What explains is not installed.
        DataError: The model does not run.
    """
    held = _some(what.held_out, asked.rows, seed)
    learned = _some(what.learned, asked.background_rows, seed + 1)[1]
    columns = ModelColumns.of(what.inputs, what.names, held[1], learned)
    if columns is None or not asked.methods:
        many = f"the model takes more than {MOST_COLUMNS} numbers, so that no single one was explained"
        return ExplanationResult(notes=(many,) if columns is None and asked.methods else ())
    model, rows = OnnxModel(what.path, [what.output]), columns.matrix(held[1])

    def score(x: NDArray[np.float64]) -> Array:
        return np.concatenate([one[what.output] for one in model.runs(columns.arrays(x))])

    truth = None if what.truth is None else what.truth[held[0]]
    permuted = (
        permutation_importance(score, rows, truth, metric, repeats=asked.repeats, seed=seed)
        if "permutation" in asked.methods
        else None
    )
    shap = None
    if "shap" in asked.methods:
        few, background = rows[: asked.shap_rows], columns.matrix(learned)
        shap = shap_values(what.path, score, columns, few, background, seconds=asked.seconds, seed=seed)
    sizes = None if shap is None else np.abs(shap.values).mean(axis=(0, 2))
    importances = [
        Importance(
            column=name,
            permutation=None if permuted is None else float(permuted.mean[at]),
            permutation_deviation=None if permuted is None else float(permuted.deviation[at]),
            shap=None if sizes is None else float(sizes[at]),
        )
        for at, name in enumerate(columns.names)
    ]
    ranked = sorted(importances, key=lambda one: one.permutation if one.permutation is not None else one.shap or 0)
    short = shap is not None and len(shap.rows) < min(asked.shap_rows, len(rows))
    return ExplanationResult(
        importances=tuple(reversed(ranked)),
        metric="" if permuted is None else (metric.name if truth is not None else "mean change of the score"),
        rows=len(rows),
        shap_method="" if shap is None else shap.method,
        shap_unit="" if shap is None else shap.unit,
        shap_rows=0 if shap is None else len(shap.rows),
        points=() if shap is None else tuple(_points(shap, columns.names)),
        notes=(f"there was time for {len(shap.rows)} rows of SHAP values",) if shap is not None and short else (),
    )


def _some(arrays: Mapping[str, Array], most: int, seed: int) -> tuple[NDArray[np.int64], dict[str, Array]]:
    """Return some rows, drawn at random, and their places."""
    count = len(next(iter(arrays.values())))
    drawn = np.random.default_rng(seed).permutation(count)[:most]
    return drawn, {name: array[drawn] for name, array in arrays.items()}


def _points(shap: ShapValues, names: Sequence[str]) -> list[ShapPoints]:
    """Return what a picture shows: of the output whose values are largest, the columns that matter the most."""
    output = int(np.abs(shap.values).mean(axis=(0, 1)).argmax())
    if shap.values.shape[2] == 2:  # noqa: PLR2004 - both are each other's opposite
        output = 1
    values = shap.values[:, :, output]
    order = np.argsort(-np.abs(values).mean(axis=0), kind="stable")[:MOST_DRAWN]
    found = []
    for at in order:
        ranks = np.searchsorted(np.sort(shap.rows[:, at]), shap.rows[:, at]) / max(1, len(shap.rows) - 1)
        found.append(
            ShapPoints(column=names[at], values=tuple(values[:, at].tolist()), ranks=tuple(ranks.clip(0, 1).tolist()))
        )
    return found
