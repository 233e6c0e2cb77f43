"""Sees that a written graph computes what was fitted."""

from typing import Final

import numpy as np

from shoal_training.errors import ExportError
from shoal_training.onnx_samples import Array

LARGEST_DIFFERENCE: Final = 1e-3
"""Of the largest value of a column, or of 1 where that is less."""
LEAST_AGREEMENT: Final = 0.999
"""Share of rows that differ by no more: a tree may turn the other way on a value that lies at its threshold."""


def check_same(what: str, fitted: Array, written: Array, form: str = "ONNX") -> None:
    """Compare row by row.

    Args:
        what: Is compared, for the error.
        fitted: What the framework computes, (n, ...).
        written: What its runtime computes of the same rows.
        form: In which it was written.

    Raises:
        ExportError: Shapes differ, or too many rows do; the share and the largest difference are told.
    """
    if fitted.shape != written.shape:
        raise ExportError(
            f"comparing {what} with its {form} form: shape {written.shape} found, expected {fitted.shape}"
        )
    rows = len(fitted)
    found, expected = written.reshape(rows, -1).astype(np.float64), fitted.reshape(rows, -1).astype(np.float64)
    scale = np.maximum(np.abs(np.nan_to_num(expected)).max(axis=0, initial=1.0), 1.0)
    gap = np.where(np.isnan(found) & np.isnan(expected), 0.0, np.abs(found - expected)) / scale
    agreed = float((np.nan_to_num(gap, nan=np.inf).max(axis=1, initial=0.0) <= LARGEST_DIFFERENCE).mean())
    if agreed < LEAST_AGREEMENT:
        raise ExportError(
            f"comparing {what} with its {form} form: {agreed:.2%} of {rows} rows agree, {LEAST_AGREEMENT:.1%} "
            f"expected; the largest difference is {np.nanmax(gap):.3g} of a column's largest value. Leave out the step "
            "or parameter that its converter does not know"
        )
