"""Holds out the rows that a file names, so that the same ones are held out run after run, or team after team."""

import csv
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.evaluation.scheme import Column, Fold, Scheme, column_of
from shoal_training.evaluation.temporal_scheme import times_of

if TYPE_CHECKING:
    import pyarrow as pa


class LeaveOut(Scheme):
    """Rows whose value in a column stands in a file: a line a value, or a CSV file with a column of that name."""

    kind: ClassVar[str] = "leave_out"

    path: str = Field(min_length=1, max_length=4096)
    """Relative to the pipeline file."""
    column: Column
    """Such as a row's id, or a recording's."""
    time: Column | None = None
    """Where every row that is held out has to come after all that are learned from."""

    def columns(self) -> tuple[str, ...]:
        """See `Scheme`."""
        return (self.column,) if self.time is None else (self.column, self.time)

    def decided_by(self, folder: Path) -> Any:  # noqa: ANN401 - see `Scheme`
        """See `Scheme`."""
        return sha256(self._read(folder).encode()).hexdigest()

    def folds(self, table: "pa.Table", target: str | None, seed: int, folder: Path = Path()) -> tuple[Fold, ...]:  # noqa: ARG002 - see `Scheme`
        """See `Scheme`."""
        import pyarrow as pa

        left_out = self._values(folder)
        doing = f"holding out what {self.path} names"
        found = column_of(table, self.column, doing).cast(pa.string()).to_pylist()
        unknown = left_out - set(found)
        if unknown:
            named = ", ".join(sorted(unknown)[:8])
            raise DataError(
                f"{doing}: {len(unknown)} of {len(left_out)} values are no row's {self.column}, such as {named}; "
                "mend the file, or name the column that it is of"
            )
        is_test = np.array([value in left_out for value in found], dtype=np.bool_)
        if is_test.all():
            raise DataError(f"{doing}: it names all {len(found)} rows, so nothing is left to learn from; shorten it")
        fold = Fold(np.flatnonzero(~is_test), np.flatnonzero(is_test))
        if self.time is not None:
            _check_later(times_of(table, self.time, doing), fold, doing)
        return (fold,)

    def _read(self, folder: Path) -> str:
        path = folder / self.path
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"reading {path}: {error}; name a file of text that lists what is held out") from error

    def _values(self, folder: Path) -> set[str]:
        rows = [row for row in csv.reader(self._read(folder).splitlines()) if row]
        at = 0
        if rows and self.column in rows[0]:
            at = rows[0].index(self.column)
            rows = rows[1:]
        values = {row[at].strip() for row in rows if len(row) > at and row[at].strip()}
        if not values:
            raise DataError(f"reading {folder / self.path}: it names nothing; write a value of {self.column} a line")
        return values


def _check_later(times: np.ndarray, fold: Fold, doing: str) -> None:
    """See that nothing is learned from what comes after the first row that is held out."""
    first = times[fold.test].min()
    late = int((times[fold.train] >= first).sum())
    if late:
        raise DataError(
            f"{doing}: {late} of {len(fold.train)} rows that are learned from come at or after the first one that is "
            "held out: time travel; hold the latest rows out, or leave `time` out where it does not matter"
        )
