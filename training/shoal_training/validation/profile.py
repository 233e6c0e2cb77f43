"""Counts what a report shows of each column: what is missing, how values are spread, which texts are frequent."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from shoal_training.validation.column_values import family_of, missing_count, numbers_of, plain

if TYPE_CHECKING:
    import pyarrow as pa

BINS: Final = 30
TOP: Final = 10
"""Texts that are shown, the most frequent ones."""
MAX_COLUMNS: Final = 200
"""That are shown, the first ones."""


@dataclass(frozen=True)
class ColumnProfile:
    """What a column looks like.

    Attributes:
        name: Of the column.
        type: Arrow's.
        missing_ratio: Share of the rows without a value.
        distinct: Different values of texts; None: not counted.
        low: The least finite number, or seconds since 1970.
        high: The greatest.
        counts: Rows in each of as many equal parts from `low` to `high`; empty: none are numbers or times.
        before: Rows of the version before in those parts; empty: there is none.
        top: Frequent texts with their rows.
        is_time: Whether `low` and `high` are times.
    """

    name: str
    type: str
    missing_ratio: float
    distinct: int | None = None
    low: float = 0.0
    high: float = 0.0
    counts: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    top: tuple[tuple[str, int], ...] = ()
    is_time: bool = False


def profiles_of(table: "pa.Table", before: "pa.Table | None") -> tuple[ColumnProfile, ...]:
    """Return what each column looks like, the first `MAX_COLUMNS` of them.

    Args:
        table: The rows.
        before: Those of the version before, for comparison; None: there is none.
    """
    found = []
    for name in table.column_names[:MAX_COLUMNS]:
        column = plain(table[name])
        known = None if before is None or name not in before.column_names else plain(before[name])
        found.append(_profile(name, column, known))
    return tuple(found)


def _profile(name: str, column: "pa.ChunkedArray", before: "pa.ChunkedArray | None") -> ColumnProfile:
    family, rows = family_of(column.type), len(column)
    missing_ratio = missing_count(column) / rows if rows else 0.0
    if family in {"text", "boolean"}:
        distinct, top = _frequent(column)
        return ColumnProfile(name, str(column.type), missing_ratio, distinct, top=top)
    if family not in {"number", "time"}:
        return ColumnProfile(name, str(column.type), missing_ratio)
    values = _finite(column)
    if not len(values):
        return ColumnProfile(name, str(column.type), missing_ratio)
    low, high = float(values.min()), float(values.max())
    old = () if before is None or family_of(before.type) != family else _counted(_finite(before), low, high)
    return ColumnProfile(
        name,
        str(column.type),
        missing_ratio,
        low=low,
        high=high,
        counts=_counted(values, low, high),
        before=old,
        is_time=family == "time",
    )


def _finite(column: "pa.ChunkedArray") -> npt.NDArray[np.float64]:
    values = numbers_of(column)
    return values[np.isfinite(values)]


def _counted(values: npt.NDArray[np.float64], low: float, high: float) -> tuple[int, ...]:
    """Return the values in equal parts from `low` to `high`; those beyond stand in the outermost."""
    width = high / BINS - low / BINS  # not of the difference, which may be infinite
    if not width > 0:
        return (len(values),)
    places = np.clip((np.clip(values, low, high) / width - low / width).astype(np.int64), 0, BINS - 1)
    return tuple(np.bincount(places, minlength=BINS).tolist())


def _frequent(column: "pa.ChunkedArray") -> tuple[int, tuple[tuple[str, int], ...]]:
    import pyarrow.compute as pc

    counted = pc.value_counts(column.drop_null())
    order = pc.sort_indices(counted.field(1), sort_keys=[("", "descending")])[:TOP]
    top = [(str(one["values"]), int(one["counts"])) for one in counted.take(order).to_pylist()]
    return len(counted), tuple(top)
