"""Values of columns in the forms that checks compute with."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from shoal_training.errors import DataError
from shoal_training.validation.check import Mask

if TYPE_CHECKING:
    import pyarrow as pa

Family = Literal["number", "text", "time", "boolean", "tensor", "other"]


def family_of(found: "pa.DataType") -> Family:
    """Return what kind of values a type has; a dictionary's are those that it holds."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(found):
        return family_of(found.value_type)
    tests: list[tuple[Family, Sequence[Any]]] = [
        ("boolean", [types.is_boolean]),
        ("number", [types.is_integer, types.is_floating, types.is_decimal]),
        ("text", [types.is_string, types.is_large_string, types.is_string_view]),
        ("time", [types.is_timestamp, types.is_date]),
    ]
    if isinstance(found, pa.FixedShapeTensorType):
        return "tensor"
    return next((family for family, asked in tests if any(test(found) for test in asked)), "other")


def named_columns(
    table: "pa.Table", names: Iterable[str], what: str, families: Iterable[Family] | None = None
) -> list[tuple[str, "pa.ChunkedArray"]]:
    """Return columns by name, texts that are kept as a dictionary as plain ones.

    Args:
        table: The rows.
        names: Of the columns.
        what: Is done, for errors.
        families: What their values have to be; None: anything.

    Raises:
        DataError: One is missing, or holds other values.
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        there = ", ".join(table.column_names[:20])
        raise DataError(f"checking {what}: there is no column {', '.join(missing)}; the table has {there}")
    found = []
    for name in names:
        column = plain(table[name])
        family = family_of(column.type)
        if families is not None and family not in families:
            raise DataError(
                f"checking {what}: the column {name} is {column.type}, expected a {' or a '.join(families)}; "
                "name another"
            )
        found.append((name, column))
    return found


def plain(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Return a column without its dictionary."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def names_of(table: "pa.Table", families: Iterable[Family], but: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of all columns whose values are of these kinds."""
    asked, left_out = set(families), set(but)
    return tuple(one.name for one in table.schema if family_of(one.type) in asked and one.name not in left_out)


def missing_in(column: "pa.ChunkedArray") -> Mask:
    """Return which rows have no value, NaN being none, (rows,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(column.type):
        return np.asarray(column.is_null().to_numpy(), dtype=np.bool_)
    return np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(), dtype=np.bool_)


def missing_count(column: "pa.ChunkedArray") -> int:
    """Return how many rows have no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(column.type):
        return int(column.null_count)
    if column.null_count == 0:
        return sum(int(np.count_nonzero(np.isnan(chunk.to_numpy()))) for chunk in column.chunks)
    return int(column.null_count + (pc.sum(pc.is_nan(column)).as_py() or 0))


def mask_of(found: "pa.ChunkedArray") -> Mask:
    """Return rows that something is true of; where it is unknown it is not. (rows,)."""
    return np.asarray(found.fill_null(False).to_numpy(), dtype=np.bool_)  # noqa: FBT003 - Arrow's


def numbers_of(column: "pa.ChunkedArray") -> npt.NDArray[np.float64]:
    """Return numbers, truths or times (in seconds since 1970) as (rows,) float64, NaN where there is none."""
    import pyarrow as pa

    family = family_of(column.type)
    if family == "boolean":
        column = column.cast(pa.uint8())
    scale = 1.0
    if family == "time":
        column, scale = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False), 1e-6
        column = column.cast(pa.int64())
    found: npt.NDArray[np.float64] = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    return found if scale == 1.0 else found * scale


def codes_of(column: "pa.ChunkedArray") -> tuple[npt.NDArray[np.int64], "pa.Array"]:
    """Return for each row the place of its value among those that differ, -1 for none, and these values."""
    coded = column.combine_chunks().dictionary_encode()
    places = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(places, dtype=np.int64), coded.dictionary
