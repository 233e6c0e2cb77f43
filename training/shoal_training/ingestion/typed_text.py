"""Types of columns that are written as text: what most of the first values are, and values as that type."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from shoal_training.errors import DataError
from shoal_training.ingestion.bad_places import bad_places

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE: Final = 1_000
"""Values of a column that its type is found by, where not all of them are of one."""
LEAST_SHARE: Final = 0.9
"""Of values that must be of a type: fewer, and the column is text. The others are then errors, not text."""


_HOPELESS_SHARE: Final = 0.2


class BadCell(NamedTuple):
    """A value that is not of its column's type."""

    at: int
    reason: str


def text_types(columns: "pa.Table", declared: Mapping[str, "pa.DataType"]) -> "pa.Schema":
    """Return the types of columns of binary text.

    Args:
        columns: Their first values.
        declared: Types by name that stand, whatever the values are.
    """
    import pyarrow as pa

    return pa.schema([(name, declared.get(name) or _type_of(columns[name])) for name in columns.column_names])


def typed(columns: "pa.Table", schema: "pa.Schema") -> tuple["pa.Table", list[BadCell]]:
    """Return columns of binary text as their types, less the rows with values that are not of them.

    Raises:
        DataError: A column is missing.
    """
    import numpy as np
    import pyarrow as pa

    made: list[pa.ChunkedArray] = []
    bad: dict[int, str] = {}
    for one in schema:
        if one.name not in columns.column_names:
            raise DataError(f"there is no column {one.name}; it has {', '.join(columns.column_names)}")
        try:
            made.append(_cast(columns[one.name], one.type))
        except pa.ArrowException:
            for at, found in _bad_values(columns[one.name], one.type):
                bad.setdefault(
                    at, f"column {one.name}: {found!r} found, {one.type} expected; mend it, or declare its type"
                )
    if not bad:
        return pa.table(made, schema=schema), []
    kept = np.ones(len(columns), dtype=np.bool_)
    kept[list(bad)] = False
    left = columns.filter(kept)
    good = pa.table([_cast(left[one.name], one.type) for one in schema], schema=schema)
    return good, [BadCell(at, bad[at]) for at in sorted(bad)]


def share_of(column: "pa.ChunkedArray", kind: "pa.DataType") -> float:
    """Return the share, 0..1, of a column's first values that are of a type; 1 where all are null."""
    share = 1.0
    for count in (SAMPLE // 20, SAMPLE):  # of most types a column is not at all: that shows at once
        some = column.drop_null().slice(0, count).combine_chunks()
        share = 1 - sum(1 for _ in _bad_values(some, kind)) / max(1, len(some))
        if share < _HOPELESS_SHARE:
            break
    return share


def _type_of(column: "pa.ChunkedArray") -> "pa.DataType":
    import pyarrow as pa

    if column.null_count == len(column):
        return pa.null()
    for kind in _ladder():
        try:
            _cast(column, kind)
        except pa.ArrowException:
            continue
        return kind
    best, share = max(((kind, share_of(column, kind)) for kind in _ladder()), key=lambda pair: pair[1])
    return best if share >= LEAST_SHARE else pa.string()


def _ladder() -> "tuple[pa.DataType, ...]":
    """Return the types that are tried, the narrower first."""
    import pyarrow as pa

    times = (pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"))
    return (pa.int64(), pa.float64(), pa.bool_(), *times)


def _cast(column: "pa.ChunkedArray", kind: "pa.DataType") -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(kind):  # the first values were nothing, and so must be the others
        if column.null_count < len(column):
            raise pa.ArrowInvalid("a value where there was none")
        return pa.chunked_array([pa.nulls(len(column))])
    text = column.cast(pa.string())
    if pa.types.is_string(kind):
        return text
    return pc.utf8_trim_whitespace(text).cast(kind)


def _bad_values(column: "pa.ChunkedArray", kind: "pa.DataType") -> list[tuple[int, str]]:
    import pyarrow as pa

    def problem(some: "pa.ChunkedArray") -> str:
        try:
            _cast(some, kind)
        except pa.ArrowException as error:
            return str(error)
        return ""

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    found = bad_places(whole, problem)
    return [(at, whole[at].as_py()[:80].decode(errors="backslashreplace")) for at, _ in found]
