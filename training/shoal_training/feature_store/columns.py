"""Columns of tables as a join compares them: times as whole nanoseconds, keys as whole numbers or text."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shoal_training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Times = npt.NDArray[np.int64]
_SHOWN = 3


def need_columns(doing: str, table: "pa.Table", names: tuple[str, ...]) -> None:
    """See that a table has some columns.

    Raises:
        DataError: One is missing.
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise DataError(
            f"{doing}: there is no column {', '.join(missing)}; the table has {', '.join(table.column_names)}"
        )


def times_ns(doing: str, column: "pa.ChunkedArray", name: str) -> "pa.ChunkedArray":
    """Return times in ns since 1970 as int64, null where there is none; times without a zone count as UTC.

    Raises:
        DataError: The column has no times, or one that lies outside of the years 1678 to 2261.
    """
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise DataError(f"{doing}: column {name} is {kind}, expected timestamps; cast it where it is read")
    try:
        if pa.types.is_date(kind):
            column = column.cast(pa.timestamp("s"))
        return column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"{doing}: column {name}: {error}; expected years from 1678 to 2261, mend the rows") from error


def all_times(doing: str, column: "pa.ChunkedArray", name: str) -> Times:
    """Return times as `times_ns`, (rows,) int64, of a column where each row has one.

    Raises:
        DataError: As for `times_ns`, or a row has none.
    """
    found = times_ns(doing, column, name)
    if found.null_count:
        first = np.flatnonzero(np.asarray(found.is_null()))[:_SHOWN] + 1
        raise DataError(
            f"{doing}: {found.null_count} rows have no {name}, rows {', '.join(map(str, first))} first; a row "
            "without it has no place in time, fill it in or leave the rows out"
        )
    return np.asarray(found.to_numpy(), dtype=np.int64)


def key(doing: str, column: "pa.ChunkedArray", name: str) -> "pa.ChunkedArray":
    """Return a part of an entity's key as int64 or text.

    Raises:
        DataError: It is neither.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_integer(kind) or pa.types.is_null(kind):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise DataError(f"{doing}: column {name}: {error}; make the keys text") from error
    raise DataError(f"{doing}: the key {name} is {kind}, expected whole numbers or text; cast it where it is read")


def same_kind(doing: str, name: str, theirs: Any, ours: Any) -> None:  # noqa: ANN401 - Arrow's types
    """See that a key is compared with its like.

    Raises:
        DataError: One is of numbers and the other of text.
    """
    if theirs != ours:
        raise DataError(
            f"{doing}: the key {name} is {theirs}, that of the labels {ours}; cast one, or no row would be found"
        )
