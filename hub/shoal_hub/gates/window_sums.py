"""Adds windows up device by device: counts in the database, a row a device; histograms in arrays, a batch at a time.

A look at a large fleet's gate goes through hundreds of thousands of windows, so nothing is done for one alone that can
be done for many. What the sums come to, and whose they are, is `evidence`'s.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, SQLColumnExpression, String, case, cast, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func
from sqlmodel.sql.expression import SelectOfScalar

from shoal_hub.monitoring.tables import WindowRow

_Number = TypeVar("_Number", np.int64, np.float64)
ROWS_AT_A_TIME: Final = 1000
"""Rows of a large answer that are held as objects: so few that the garbage collector never goes through the whole
process on their account, which takes longer than to read them."""
BATCH: Final = 20_000
"""Windows whose histograms are held at a time."""


class Count(NamedTuple):
    """What of windows is added up: a numerator and the weight that it is of."""

    numerator: SQLColumnExpression[Any]
    weight: SQLColumnExpression[Any]


def part(count: Any, of: Any) -> Count:  # noqa: ANN401 - mapped columns
    """Return a share of what was counted; in no window more than all of it."""
    return Count(case((col(count) < col(of), col(count)), else_=col(of)), col(of))


def mean(value: Any, weight: Any) -> Count:  # noqa: ANN401 - mapped columns
    """Return a weighted mean over the windows that have a value."""
    return Count(col(value) * weight, case((col(value).is_not(None), weight)))


@dataclass(frozen=True)
class Windows:
    """The windows of some devices that count.

    Attributes:
        model: Whose windows.
        devices: Selects the ids of the devices.
        since: The earliest one's start.
        before: Which count as before.
        after: Which count as after; none counts as both.
    """

    model: str
    devices: SelectOfScalar[str]
    since: datetime
    before: ColumnElement[bool]
    after: ColumnElement[bool]

    def select(self, *columns: Any) -> Any:  # noqa: ANN401 - selected columns
        """Return the statement that finds them: by device and time, as the index has them."""
        return select_columns(*columns).where(
            col(WindowRow.model) == self.model,
            col(WindowRow.device_id).in_(self.devices),
            col(WindowRow.started_at) >= self.since,
        )


class _Batch(NamedTuple):
    """Some windows whose histograms are added up.

    Attributes:
        devices: How many devices there have been, with those of the batches before.
        places: (windows,) int64, of each one's device among them.
        versions: (windows,) int64.
        stretches: (windows,) int64, 0 for before and 1 for after.
    """

    devices: int
    places: NDArray[np.int64]
    versions: NDArray[np.int64]
    stretches: NDArray[np.int64]


def sum_counts(session: Session, windows: Windows, counts: Sequence[Count]) -> NDArray[np.float64]:
    """Return the sums of each count, (counts, 2, 2, devices) float64: before and after, numerator and weight.

    The devices are those that have told any window, in no order.

    Args:
        session: An open session.
        windows: What is added up.
        counts: Which columns.
    """
    if not counts:
        return np.zeros((0, 2, 2, 0))
    columns = [
        func.coalesce(func.sum(column).filter(stretch), 0)
        for one in counts
        for stretch in (windows.before, windows.after)
        for column in one
    ]
    found = session.connection().execute(windows.select(*columns).group_by(col(WindowRow.device_id)))
    sums = [np.array(_columns(rows), dtype=np.float64) for rows in found.partitions(ROWS_AT_A_TIME)]
    return np.concatenate([np.zeros((len(columns), 0)), *sums], axis=1).reshape(len(counts), 2, 2, -1)


class HistogramSums:
    """Sums of histograms that all have the same bins; windows with other ones are left out.

    Args:
        column: Their column, a list of counts as JSON.
        bins: How many counts each has.

    Attributes:
        sums: (2, devices, bins) int64, before and after.
    """

    def __init__(self, column: Any, bins: int) -> None:  # noqa: ANN401 - a mapped column
        self.column = column
        self.sums: NDArray[np.int64] = np.zeros((2, 0, bins), dtype=np.int64)

    def add(self, batch: _Batch, texts: Sequence[str]) -> None:
        """Add a batch's histograms."""
        self.sums = _widened(self.sums, batch.devices)
        rows, counts = _counts(texts, self.sums.shape[-1])
        np.add.at(self.sums, (batch.stretches[rows], batch.places[rows]), counts)


class WeightedSums:
    """Sums over histograms of their values and of their counts, for means.

    Args:
        column: Their column, a list of counts as JSON.
        values: By version, what one of each bin counts as; windows of other versions or bins are left out.

    Attributes:
        sums: (2, devices, 2) float64, before and after, values and counts.
    """

    def __init__(self, column: Any, values: Mapping[int, NDArray[np.float64]]) -> None:  # noqa: ANN401
        self.column = column
        self.sums: NDArray[np.float64] = np.zeros((2, 0, 2))
        self._values = values

    def add(self, batch: _Batch, texts: Sequence[str]) -> None:
        """Add a batch's histograms."""
        self.sums = _widened(self.sums, batch.devices)
        for version in self._values.keys() & set(batch.versions.tolist()):
            of_version = np.flatnonzero(batch.versions == version)
            of_bins = self._values[version]
            found, counts = _counts([texts[row] for row in of_version.tolist()], len(of_bins))
            rows, shares = of_version[found], counts.astype(np.float64)  # their sum may be no integer of 64 bits
            both = np.stack([shares @ of_bins, shares.sum(axis=1)], axis=-1)
            np.add.at(self.sums, (batch.stretches[rows], batch.places[rows]), both)


def add_histograms(session: Session, windows: Windows, sums: Sequence[HistogramSums | WeightedSums]) -> None:
    """Add up histograms, all columns in one go.

    The devices of the sums are those that have told any window that counts, in no order.

    Args:
        session: An open session.
        windows: What is added up.
        sums: What it is added to.
    """
    stretch = case((windows.before, 0), else_=1)
    texts = [cast(col(one.column), String) for one in sums]
    wanted = windows.select(col(WindowRow.device_id), col(WindowRow.version), stretch, *texts)
    places: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    for device_ids, versions, stretches, *columns in _read(session, wanted.where(or_(windows.before, windows.after))):
        of_rows = np.array([places[device_id] for device_id in device_ids])
        batch = _Batch(len(places), of_rows, np.array(versions), np.array(stretches))
        for one, column in zip(sums, columns, strict=True):
            one.add(batch, column)


def _widened(sums: NDArray[_Number], devices: int) -> NDArray[_Number]:
    """Return sums of (2, devices, ...) with room for so many devices."""
    missing = devices - sums.shape[1]
    if not missing:
        return sums
    return np.concatenate([sums, np.zeros((2, missing, *sums.shape[2:]), dtype=sums.dtype)], axis=1)


def _read(session: Session, wanted: Any) -> Iterator[list[list[Any]]]:  # noqa: ANN401 - a statement over columns
    """Yield an answer's columns, a batch of rows at a time."""
    found = session.connection().execute(wanted.execution_options(yield_per=ROWS_AT_A_TIME)).partitions()
    while parts := list(itertools.islice(map(_columns, found), BATCH // ROWS_AT_A_TIME)):
        yield [list(itertools.chain.from_iterable(column)) for column in zip(*parts, strict=True)]


def _columns(rows: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    """Return rows as columns, which are few objects."""
    return list(zip(*rows, strict=True))


def _counts(texts: Sequence[str], bins: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read lists of counts all at once, which takes a fraction of what it takes one by one.

    Returns:
        Which of the texts have so many bins, (found,) int64, and their counts, (found, bins) int64.
    """
    rows = [row for row, text in enumerate(texts) if text.count(",") + 1 == bins and text != "[]"]
    digits = ",".join([texts[row] for row in rows]).replace("[", "").replace("]", "")
    counts = np.fromstring(digits, dtype=np.int64, sep=",")
    return np.array(rows, dtype=np.int64), counts.reshape(len(rows), bins)
