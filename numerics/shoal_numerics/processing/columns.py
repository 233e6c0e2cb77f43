"""Columns of a table as numbers, or as places in a vocabulary; what can not be read costs its own row alone.

A column is an array of numbers, or of objects: text, numbers, true and false, None. None, NaN and empty text are
missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from shoal_numerics.processing.errors import MissingColumnError
from shoal_numerics.tensors import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING: Final = -2
UNKNOWN: Final = -1
_MAX_SHOWN_CHARS: Final = 60


class Numbers(NamedTuple):
    """A column of numbers.

    Attributes:
        values: (rows,) float64; NaN where there is none.
        is_missing: (rows,) bool.
        bad: What stands in its place, by row.
    """

    values: NDArray[np.float64]
    is_missing: NDArray[np.bool_]
    bad: dict[int, str]


def column_of(columns: Mapping[str, Array], name: str) -> Array:
    """Return a column by its name.

    Raises:
        MissingColumnError: The data has none.
    """
    if name not in columns:
        known = ", ".join(sorted(columns)[:20]) or "none"
        raise MissingColumnError(f"making the model's input: no column {name!r}; the data has {known}")
    return columns[name]


def to_numbers(column: Array) -> Numbers:
    """Return a column as numbers; text is read as Python's `float` does."""
    if column.dtype.kind in "biuf":
        values = column.astype(np.float64)
        is_missing = np.isnan(values)
    else:
        values, is_missing = _parsed(column.astype(np.object_))
    with np.errstate(invalid="ignore"):
        is_bad = ~np.isfinite(values) & ~is_missing
    bad = {int(row): shown(column[row]) for row in np.flatnonzero(is_bad)}
    return Numbers(np.where(is_bad, np.nan, values), is_missing, bad)


def to_codes(column: Array, places: Mapping[str, int]) -> NDArray[np.int64]:
    """Return each word's place in a vocabulary, (rows,) int64; `MISSING` or `UNKNOWN` where it has none."""
    if column.dtype.kind in "biuf":
        distinct, inverse = np.unique(column, return_inverse=True)
        codes = np.array([_code(value.item(), places) for value in distinct], dtype=np.int64)
        return codes[inverse.reshape(-1)] if len(distinct) else np.empty(0, dtype=np.int64)
    return np.array([_code(value, places) for value in column.tolist()], dtype=np.int64)


def shown(value: object) -> str:
    """Return a value for a person to read, cut short."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "..."


def _parsed(column: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return numbers, infinite where there is no number, and what is missing."""
    is_missing = np.array([value is None or value == "" for value in column.tolist()], dtype=np.bool_)
    values = np.full(len(column), np.nan)
    present = column[~is_missing]
    try:
        values[~is_missing] = present.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        values[~is_missing] = [_number(value) for value in present.tolist()]
    return values, np.isnan(values)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return np.inf


def _code(value: object, places: Mapping[str, int]) -> int:
    if isinstance(value, str):
        return places.get(value, UNKNOWN if value else MISSING)
    word = _word(value)
    return MISSING if word is None else places.get(word, UNKNOWN)


def _word(value: object) -> str | None:
    """Return a value as a word of a vocabulary; None where it is missing."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
