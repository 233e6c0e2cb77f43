"""From named columns to a model's input of shape (batch, width): numbers standardised, words encoded.

One-hot and ordinal codes are those of scikit-learn's OneHotEncoder and OrdinalEncoder, with the vocabulary as its
categories.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_contract.processing import CategoryFeature, NumberFeature, TabularInput
from shoal_numerics.processing.cast import cast
from shoal_numerics.processing.columns import MISSING, UNKNOWN, column_of, shown, to_codes, to_numbers
from shoal_numerics.processing.made import Made
from shoal_numerics.tensors import NUMPY_TYPES, Array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def make_table(made: TabularInput, spec: TensorSpec, columns: Mapping[str, Array], rows: int) -> Made:
    """Make a tabular input.

    Args:
        made: How.
        spec: The input; its datatype is what numbers become.
        columns: The data's columns by name, each (rows,).
        rows: How many samples there are.

    Returns:
        (rows, width) of the input's datatype.

    Raises:
        ProcessingError: A column is not there at all.
    """
    dtype = NUMPY_TYPES[spec.datatype]
    result = np.zeros((rows, made.width), dtype=dtype)
    refused: dict[int, str] = {}
    at = 0
    for feature in made.features:
        column = column_of(columns, feature.name)
        if isinstance(feature, NumberFeature):
            result[:, at] = cast(_numbers(feature, column, refused), dtype)
        else:
            _encode(feature, column, result[:, at : at + feature.width], refused)
        at += feature.width
    return Made(result, refused)


def _numbers(feature: NumberFeature, column: Array, refused: dict[int, str]) -> NDArray[np.float64]:
    """Fill, clip and standardise one column; note the rows that can not be used."""
    values, is_missing, bad = to_numbers(column)
    for row, found in bad.items():
        refused.setdefault(row, f"column {feature.name!r}: {found} is no finite number")
    if feature.fill is None:
        _note_missing(feature.name, is_missing, refused)
    filled = np.where(is_missing, 0.0 if feature.fill is None else feature.fill, values)
    usable = np.where(np.isnan(filled), 0.0, filled)
    if feature.low is not None or feature.high is not None:
        usable = np.clip(usable, feature.low, feature.high)
    standardised: NDArray[np.float64] = (usable - feature.mean) / feature.std
    return standardised


def _encode(feature: CategoryFeature, column: Array, into: Array, refused: dict[int, str]) -> None:
    """Write one column's codes into its part of the input, (rows, width), which is zero; note unusable rows."""
    places = {word: place for place, word in enumerate(feature.vocabulary)}
    codes = to_codes(column, places)
    is_missing = codes == MISSING
    if feature.fill is None:
        _note_missing(feature.name, is_missing, refused)
    else:
        codes = np.where(is_missing, places.get(feature.fill, UNKNOWN), codes)
    if feature.unknown == "refuse":
        for row in np.flatnonzero(codes == UNKNOWN):
            refused.setdefault(int(row), f"column {feature.name!r}: {shown(column[row])} is not in the vocabulary")
    if feature.encoding == "one_hot":
        known = np.flatnonzero(codes >= 0)
        into[known, codes[known]] = 1
    else:
        into[:, 0] = cast(np.where(codes < 0, feature.unknown_code, codes).astype(np.float64), into.dtype)


def _note_missing(name: str, is_missing: NDArray[np.bool_], refused: dict[int, str]) -> None:
    for row in np.flatnonzero(is_missing):
        refused.setdefault(int(row), f"column {name!r}: the value is missing")
