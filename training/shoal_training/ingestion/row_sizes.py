"""How many bytes rows take, and rows in groups that are bounded by it: the same groups for the same rows."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS: Final = 65_536
GROUP_BYTES: Final = 32 << 20
"""Of a group, which is closed by the row that reaches either."""
_GUESS_BYTES: Final = 32
"""Of a value whose type does not say its size."""


def byte_width(kind: "pa.DataType") -> int:
    """Return how many bytes a value of a type takes; of types whose values differ in it, a guess."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * byte_width(kind.value_type)
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # no width of its own
        return _GUESS_BYTES


def row_bytes(table: "pa.Table") -> npt.NDArray[np.int64]:
    """Return how many bytes each row takes, about; (rows,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = np.zeros(len(table), dtype=np.int64)
    for column in table.columns:
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            sizes += pc.binary_length(column).fill_null(0).to_numpy()
        elif pa.types.is_list(kind):
            sizes += pc.list_value_length(column).fill_null(0).to_numpy().astype(np.int64) * byte_width(kind.value_type)
        else:
            sizes += byte_width(kind)
    return sizes


def row_groups(
    tables: Iterable["pa.Table"], most_rows: int = GROUP_ROWS, most_bytes: int = GROUP_BYTES
) -> Iterator["pa.Table"]:
    """Yield rows in groups of one piece, of which all but the last are full, however they came."""
    import pyarrow as pa

    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        ends, start = np.cumsum(row_bytes(table)), 0
        while start < len(table):
            before = int(ends[start - 1]) if start else 0
            fitting = int(np.searchsorted(ends, before + most_bytes - size)) + 1 - start
            count = min(len(table) - start, most_rows - rows, fitting)
            held.append(table.slice(start, count))
            start, rows = start + count, rows + count
            size += int(ends[start - 1]) - before
            if rows >= most_rows or size >= most_bytes:
                yield pa.concat_tables(held).combine_chunks()
                held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held).combine_chunks()
