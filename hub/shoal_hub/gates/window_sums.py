"""Adds windows up device by device: counts in the database, a row a device; histograms in arrays, a batch at a time.

A look at a large fleet's gate goes through as many windows as there are devices, and more: here nothing is done in
Python for each of them but to take it in.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count, islice
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
    return Count(col(value) * col(weight), case((col(value).is_not(None), col(weight))))


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
        func.coalesce(func.sum(one).filter(stretch), 0)
        for count in counts
        for stretch in (windows.before, windows.after)
        for one in count
    ]
    found = session.connection().execute(windows.select(*columns).group_by(col(WindowRow.device_id)))
    sums = [np.array(_columns(rows), dtype=np.float64) for rows in found.partitions(ROWS_AT_A_TIME)]
    return np.concatenate([np.zeros((len(columns), 0)), *sums], axis=1).reshape(len(counts), 2, 2, -1)


def sum_histograms(session: Session, windows: Windows, column: Any, bins: int) -> NDArray[np.int64]:  # noqa: ANN401
    """Return the sums of a column of histograms, (2, devices, bins) int64: before and after.

    The devices are those that have told any window that counts, in no order.

    Args:
        session: An open session.
        windows: What is added up.
        column: The column, a list of counts as JSON.
        bins: How many counts each has; windows with others are left out.
    """
    sums = np.zeros((2, 0, bins), dtype=np.int64)
    for batch in _read(session, windows, column):
        sums = _widened(sums, batch.devices)
        counted = _counts(batch.texts, bins)
        np.add.at(sums, (batch.stretches[counted.rows], batch.places[counted.rows]), counted.values)
    return sums


def sum_weighted(
    session: Session,
    windows: Windows,
    column: Any,  # noqa: ANN401 - a mapped column
    values: Mapping[int, NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return sums over histograms of their values and of their counts, (2, 2, devices) float64: before and after.

    The devices are those that have told any window that counts, in no order.

    Args:
        session: An open session.
        windows: What is added up.
        column: The column, a list of counts as JSON.
        values: By version, what one of each bin counts as; windows of other versions or bins are left out.
    """
    sums = np.zeros((2, 0, 2))
    for batch in _read(session, windows, column):
        sums = _widened(sums, batch.devices)
        for version in values.keys() & set(batch.versions.tolist()):
            of_version = np.flatnonzero(batch.versions == version)
            counted = _counts([batch.texts[row] for row in of_version.tolist()], len(values[version]))
            rows = of_version[counted.rows]
            both = np.stack([counted.values @ values[version], counted.values.sum(axis=1)], axis=-1)
            np.add.at(sums, (batch.stretches[rows], batch.places[rows]), both)
    return sums.transpose(0, 2, 1)


def _widened(sums: NDArray[_Number], devices: int) -> NDArray[_Number]:
    """Return sums of (2, devices, ...) with room for so many devices."""
    missing = devices - sums.shape[1]
    if not missing:
        return sums
    return np.concatenate([sums, np.zeros((2, missing, *sums.shape[2:]), dtype=sums.dtype)], axis=1)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some windows' histograms.

    Attributes:
        devices: How many devices there have been, with those of the batches before.
        places: (windows,) int64, of each one's device among them.
        versions: (windows,) int64.
        stretches: (windows,) int64, 0 for before and 1 for after.
        texts: The histograms as JSON.
    """

    devices: int
    places: NDArray[np.int64]
    versions: NDArray[np.int64]
    stretches: NDArray[np.int64]
    texts: Sequence[str]


def _read(session: Session, windows: Windows, column: Any) -> Iterator[_Batch]:  # noqa: ANN401 - a mapped column
    wanted = windows.select(
        col(WindowRow.device_id), col(WindowRow.version), case((windows.before, 0), else_=1), cast(col(column), String)
    ).where(or_(windows.before, windows.after))
    found = session.connection().execute(wanted.execution_options(yield_per=ROWS_AT_A_TIME)).partitions()
    places: defaultdict[str, int] = defaultdict(count().__next__)
    while parts := list(islice(map(_columns, found), BATCH // ROWS_AT_A_TIME)):
        device_ids, versions, stretches, texts = (list(chain.from_iterable(one)) for one in zip(*parts, strict=True))
        of_rows = np.array([places[one] for one in device_ids])
        yield _Batch(len(places), of_rows, np.array(versions), np.array(stretches), texts)


def _columns(rows: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    """Return rows as columns, which are few objects."""
    return list(zip(*rows, strict=True))


class _Counts(NamedTuple):
    """Histograms of the number of bins that was asked for, (rows, bins) int64, and which of the texts they were."""

    rows: NDArray[np.int64]
    values: NDArray[np.int64]


def _counts(texts: Sequence[str], bins: int) -> _Counts:
    """Read lists of counts all at once, which takes a fraction of what it takes one by one."""
    rows = [row for row, text in enumerate(texts) if text.count(",") + 1 == bins and text != "[]"]
    digits = ",".join([texts[row] for row in rows]).replace("[", "").replace("]", "")
    values = np.fromstring(digits, dtype=np.int64, sep=",")
    return _Counts(np.array(rows, dtype=np.int64), values.reshape(len(rows), bins))
