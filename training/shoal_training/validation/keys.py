"""Checks of keys: columns that together say which row it is."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shoal_training.validation.check import Check, Mask, Outcome
from shoal_training.validation.column_values import codes_of, missing_count, missing_in, named_columns

if TYPE_CHECKING:
    import pyarrow as pa

_TOLD_KEYS = 5


class Unique(Check):
    """No two rows have the same key, of one column or several together. Rows without a whole key are not compared."""

    kind: ClassVar[str] = "unique"

    columns: tuple[str, ...] = Field(min_length=1)
    keep: Literal["first", "last", "none"] = "first"
    """Which of the rows with one key is not a bad one."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        columns = named_columns(table, self.columns, self.kind)
        word = " and ".join(self.columns)
        if len(columns) == 1 and _is_plainly_unique(columns[0][1]):
            return self.judged(len(table), {})
        codes = self._keys(columns, len(table))
        is_bad = _repeated(codes, self.keep)
        facts = {}
        if is_bad.any():
            first = np.unique(codes[is_bad], return_index=True)[1][:_TOLD_KEYS]
            rows = np.flatnonzero(is_bad)[first]
            facts = {"keys": [[str(column[int(row)].as_py()) for _, column in columns] for row in rows]}
        return self.judged(len(table), {f"{word} is that of another row": is_bad}, facts)

    def _keys(self, columns: "list[tuple[str, pa.ChunkedArray]]", rows: int) -> npt.NDArray[np.int64]:
        """Return a number for each key, (rows,); -1 where a part is missing."""
        keys = np.zeros(rows, dtype=np.int64)
        is_missing = np.zeros(rows, dtype=np.bool_)
        for _, column in columns:
            codes, values = codes_of(column)
            is_missing |= missing_in(column)
            # Numbered anew each time, so that the product never leaves 64 bits.
            keys = np.unique(keys * (len(values) + 1) + codes, return_inverse=True)[1] if keys.any() else codes
        return np.where(is_missing, -1, keys)


def _is_plainly_unique(column: "pa.ChunkedArray") -> bool:
    """Whether a column has no value twice, which is known without looking which rows have it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type) and column.null_count == 0:
        found = np.sort(column.to_numpy())
        return not (found[1:] == found[:-1]).any()
    return missing_count(column) == 0 and pc.count_distinct(column).as_py() == len(column)


def _repeated(keys: npt.NDArray[np.int64], keep: str) -> Mask:
    """Return which rows have a key that another has, but for the one that is kept."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_same = ordered[1:] == ordered[:-1]
    as_before, as_after = np.append(False, is_same), np.append(is_same, False)
    bad = {"first": as_before, "last": as_after, "none": as_before | as_after}[keep] & (ordered >= 0)
    found = np.zeros(len(keys), dtype=np.bool_)
    found[order[bad]] = True
    return found
