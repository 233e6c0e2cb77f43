"""Checks of keys: columns that together say which row it is."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shoal_training.validation.check import Check, Mask, Outcome
from shoal_training.validation.column_values import codes_of, missing_in, named_columns
from shoal_training.validation.text_hashes import text_hashes

if TYPE_CHECKING:
    import pyarrow as pa

_TOLD_KEYS = 5
Places = npt.NDArray[np.int64]


class Unique(Check):
    """No two rows have the same key, of one column or several together. Rows without a whole key are not compared."""

    kind: ClassVar[str] = "unique"

    columns: tuple[str, ...] = Field(min_length=1)
    keep: Literal["first", "last", "none"] = "first"
    """Which of the rows with one key is not a bad one."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        columns = named_columns(table, self.columns, self.kind)
        suspects = _suspects(columns[0][1]) if len(columns) == 1 else np.arange(len(table))
        is_bad = np.zeros(len(table), dtype=np.bool_)
        facts = {}
        if len(suspects):
            some = [(name, column.take(suspects)) for name, column in columns]
            codes = _keys(some, len(suspects))
            found = _repeated(codes, self.keep)
            is_bad[suspects[found]] = True
            first = np.unique(codes[found], return_index=True)[1][:_TOLD_KEYS]
            places = np.flatnonzero(found)[first]
            told = [[str(column[int(place)].as_py()) for _, column in some] for place in places]
            facts = {"keys": told} if told else {}
        return self.judged(len(table), {f"{' and '.join(self.columns)} is that of another row": is_bad}, facts)


def _keys(columns: "list[tuple[str, pa.ChunkedArray]]", rows: int) -> Places:
    """Return a number for each key, (rows,); -1 where a part is missing."""
    keys = np.zeros(rows, dtype=np.int64)
    is_missing = np.zeros(rows, dtype=np.bool_)
    for _, column in columns:
        codes, values = codes_of(column)
        is_missing |= missing_in(column)
        # Numbered anew each time, so that the product never leaves 64 bits.
        keys = np.unique(keys * (len(values) + 1) + codes, return_inverse=True)[1] if keys.any() else codes
    return np.where(is_missing, -1, keys)


def _suspects(column: "pa.ChunkedArray") -> Places:
    """Return the rows of a column that may have the value of another, rising: all that have it, and seldom more."""
    import pyarrow as pa

    is_whole = pa.types.is_integer(column.type) and column.null_count == 0
    numbers = column.to_numpy() if is_whole else text_hashes(column)
    if numbers is None:
        codes, values = codes_of(column)
        if len(values) == len(column):
            return np.empty(0, dtype=np.int64)
        counts = np.append(np.bincount(codes[codes >= 0], minlength=len(values)), 0)
        return np.flatnonzero(counts[codes] > 1)
    ordered = np.sort(numbers)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.flatnonzero(_is_among(numbers, twice)) if len(twice) else np.empty(0, dtype=np.int64)


def _is_among(numbers: "npt.NDArray[Any]", known: "npt.NDArray[Any]") -> Mask:
    """Return which numbers are among known ones, which rise."""
    places = np.searchsorted(known, numbers)
    found: Mask = known[np.minimum(places, len(known) - 1)] == numbers
    return found


def _repeated(keys: Places, keep: str) -> Mask:
    """Return which rows have a key that another has, but for the one that is kept."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_same = ordered[1:] == ordered[:-1]
    as_before, as_after = np.append(False, is_same), np.append(is_same, False)
    bad = {"first": as_before, "last": as_after, "none": as_before | as_after}[keep] & (ordered >= 0)
    found = np.zeros(len(keys), dtype=np.bool_)
    found[order[bad]] = True
    return found
