"""Holds the latest rows out, so that a model is measured on what comes after all that it has learned from."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.evaluation.scheme import MAX_FOLDS, Column, Fold, Scheme, column_of

if TYPE_CHECKING:
    import pyarrow as pa


class Temporal(Scheme):
    """Learned from before, measured after. The first fold holds the latest rows out; further ones go back in time.

    What is learned from begins with the first row and grows (expanding windows). Rows of one time stand on one side,
    and rows within the gap on neither: what a window of features looks back on is not learned from.
    """

    kind: ClassVar[str] = "temporal"

    column: Column
    """Of times or dates; or of numbers, whose unit is then the gap's."""
    test_ratio: float = Field(default=0.2, gt=0, lt=1)
    """Share of the rows that each fold measures on."""
    gap_s: float = Field(default=0.0, ge=0)
    """Seconds between the last row that is learned from and the first that is held out, at least."""
    folds_count: int = Field(default=1, ge=1, le=MAX_FOLDS, alias="folds")

    def columns(self) -> tuple[str, ...]:
        """See `Scheme`."""
        return (self.column,)

    def folds(self, table: "pa.Table", target: str | None, seed: int, folder: Path = Path()) -> tuple[Fold, ...]:  # noqa: ARG002 - see `Scheme`
        """See `Scheme`."""
        if self.test_ratio * self.folds_count >= 1:
            raise DataError(
                f"parting rows by time: {self.folds_count} folds that hold {self.test_ratio:g} out each leave nothing "
                "to learn from; ask for a smaller share, or fewer folds"
            )
        times = times_of(table, self.column, "parting rows by time")
        ordered = np.sort(times)
        if not len(ordered) or ordered[0] == ordered[-1]:
            raise DataError(
                f"parting rows by time: all {len(ordered)} rows have the same {self.column}, so none comes after "
                "another; name another column, or another scheme"
            )
        ends = [ordered[-1] + 1.0, *(self._start(ordered, number) for number in range(self.folds_count))]
        return tuple(self._fold(times, start, end, number) for number, (end, start) in enumerate(pairwise(ends), 1))

    def _start(self, ordered: NDArray[np.float64], number: int) -> float:
        """Return the time at which the window of a fold begins, 0 the latest."""
        at = len(ordered) - round(len(ordered) * self.test_ratio * (number + 1))
        start = float(ordered[min(max(at, 0), len(ordered) - 1)])
        if start == ordered[0]:
            later = ordered[ordered > start]  # rows of the first time alone are learned from
            start = float(later[0])
        return start

    def _fold(self, times: NDArray[np.float64], start: float, end: float, number: int) -> Fold:
        last = start - self.gap_s
        is_before = times < start if self.gap_s == 0 else times <= last
        fold = Fold(np.flatnonzero(is_before), np.flatnonzero((times >= start) & (times < end)))
        if not len(fold.train) or not len(fold.test):
            raise DataError(
                f"parting rows by time, fold {number}: {len(fold.train)} rows lie before the gap of {self.gap_s:g} s "
                f"and {len(fold.test)} after it, expected 1 or more of each; make the gap or the number of folds "
                "smaller, or bring rows of a longer time"
            )
        return fold


def times_of(table: "pa.Table", name: str, doing: str) -> NDArray[np.float64]:
    """Return a column of times as seconds since 1970, (n,) float64; numbers as they are.

    Raises:
        DataError: It is of another type, or rows have none.
    """
    import pyarrow as pa

    column = column_of(table, name, doing)
    kind = column.type
    if column.null_count:
        raise DataError(
            f"{doing}: {column.null_count} rows have no {name}, so that it is unknown what comes after what; check "
            "`not_null` with the action `quarantine`"
        )
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        whole = column.cast(pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None)).cast(pa.int64())
        return np.asarray(whole.to_numpy(), dtype=np.float64) / 1e6
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    raise DataError(f"{doing}: the column {name} is {kind}, expected times, dates or numbers; name another, or cast it")
