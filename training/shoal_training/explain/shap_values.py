"""SHAP values of the columns that go into a model (Lundberg and Lee 2017, arXiv 1705.07874), by the library `shap`.

Of one ensemble of trees exact ones, along the trees of the written graph; of any other model estimates by asking it.
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal_compression.errors import MissingLibraryError
from shoal_training.explain.columns import ModelColumns
from shoal_training.explain.permutation import Score
from shoal_training.explain.tree_graph import TreeModel, trees_of
from shoal_training.onnx_samples import Array, OnnxModel

_BLOCK: Final = 10
"""Rows between two looks at the clock."""
_FINITE: Final = float(np.finfo(np.float32).max)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class ShapValues:
    """SHAP values.

    Attributes:
        values: (rows, columns, outputs).
        rows: (rows, columns) that they are of.
        method: `tree` or `permutation`.
        unit: What the values of a row and the mean answer add up to.
    """

    values: Values
    rows: Values
    method: str
    unit: str


def shap_values(
    path: Path, score: Score, columns: ModelColumns, rows: Values, background: Values, *, seconds: float, seed: int
) -> ShapValues:
    """Explain a written model.

    Args:
        path: The ONNX file.
        score: The model on rows of columns.
        columns: Of its inputs.
        rows: (n, columns) that are explained.
        background: (m, columns) that stand for what is not known.
        seconds: Most; rows that there is no time for are left out.
        seed: Of what is drawn.

    Raises:
        MissingLibraryError: The library is not installed.
    """
    import onnx

    trees = trees_of(onnx.load(path))
    if trees is not None:
        found = _of_trees(path, trees, columns, rows, background)
        if found is not None:
            return found
    return _of_any(score, rows, background, seconds=seconds, seed=seed)


@contextmanager
def _library() -> Iterator[Any]:
    """Give the library, whose imports and warnings are its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import shap
        except ImportError as error:
            raise MissingLibraryError(
                f"explaining by SHAP: {error}; install shoal[train], or leave `shap` out of the methods"
            ) from error
        yield shap


def _of_trees(
    path: Path, trees: TreeModel, columns: ModelColumns, rows: Values, background: Values
) -> ShapValues | None:
    """Return exact values; None: some prepared number hangs on two columns, so that it is nobody's."""
    owners = _owners(path, trees.entered, columns, np.concatenate([background, rows]))
    if owners is None:
        return None
    entering = _entering(path, trees.entered, columns, rows)
    known = _entering(path, trees.entered, columns, background)
    with _library() as shap:
        model = {"trees": [dict(one) for one in trees.trees], "base_offset": trees.base}
        explainer = shap.TreeExplainer(model, data=_finite(known), feature_perturbation="interventional")
        found = np.asarray(explainer.shap_values(_finite(entering), check_additivity=False), dtype=np.float64)
    found = found.reshape(len(rows), entering.shape[1], -1)
    summed = np.zeros((len(rows), len(columns.names), found.shape[2]))
    for at, owner in enumerate(owners):
        if owner >= 0:
            summed[:, owner] += found[:, at]
    return ShapValues(summed, rows, "tree", "sum of the trees" if trees.is_margin else "score")


def _owners(path: Path, entered: str, columns: ModelColumns, rows: Values) -> NDArray[np.int64] | None:
    """Return the one column that decides each prepared number of all rows, -1 for none; None: two decide one.

    A preparation reorders, splits and joins columns; shuffling one shows what follows it.
    """
    plain = _entering(path, entered, columns, rows)
    owners = np.full(plain.shape[1], -1, dtype=np.int64)
    for at in range(len(columns.names)):
        turned = rows.copy()
        turned[:, at] = np.roll(rows[:, at], 1)
        differs = (_finite(_entering(path, entered, columns, turned)) != _finite(plain)).any(axis=0)
        if (owners[differs] >= 0).any():
            return None
        owners[differs] = at
    return owners


def _entering(path: Path, tensor: str, columns: ModelColumns, rows: Values) -> NDArray[np.float64]:
    """Return a tensor within the graph for rows, (n, numbers)."""
    import onnx

    model = onnx.load(path)
    arrays = columns.arrays(rows)
    if tensor in arrays:
        return np.asarray(arrays[tensor], dtype=np.float64).reshape(len(rows), -1)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
    with TemporaryDirectory() as folder:
        opened = Path(folder) / "opened.onnx"
        opened.write_bytes(model.SerializeToString())
        parts = [one[tensor] for one in OnnxModel(opened, [tensor]).runs(arrays)]
    return np.asarray(np.concatenate(parts), dtype=np.float64).reshape(len(rows), -1)


def _finite(rows: Values) -> Values:
    return np.where(np.isnan(rows), np.nan, np.clip(rows, -_FINITE, _FINITE))


def _of_any(score: Score, rows: Values, background: Values, *, seconds: float, seed: int) -> ShapValues:
    """Return estimates from permutations of the columns; rows in turn while there is time."""
    until, found = time.monotonic() + seconds, []

    def said(x: Array) -> Array:
        answers = score(np.asarray(x, dtype=np.float64))
        return answers.reshape(len(answers), -1)

    with _library() as shap:
        masker = shap.maskers.Independent(background, max_samples=len(background))
        explainer = shap.PermutationExplainer(said, masker, seed=seed)
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            made = explainer(some, max_evals=2 * rows.shape[1] + 1, silent=True)
            found.append(np.asarray(made.values, dtype=np.float64).reshape(len(some), rows.shape[1], -1))
            if time.monotonic() > until:
                break
    values = np.concatenate(found)
    return ShapValues(values, rows[: len(values)], "permutation", "score")
