"""Rows of a table for those that know no columns of Arrow: as lines of JSON, and as cells that hold one value."""

import base64
import json
import math
from collections.abc import Callable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE: Final = 4096
"""Rows that are Python's values at a time."""
_WRITTEN: Final[dict[Any, Callable[[Any], Any]]] = {
    date: lambda value: value.isoformat(),
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    bytes: lambda value: base64.b64encode(value).decode(),
    Decimal: str,
}
"""How JSON has values of other types; a datetime is a date."""


def json_rows(table: "pa.Table") -> Iterator[bytes]:
    """Yield each row as JSON on a line: NaN and infinite are null, times ISO 8601, bytes base64."""
    for row in python_rows(table):
        yield json.dumps(_plain(row), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def python_rows(table: "pa.Table") -> Iterator[dict[str, Any]]:
    """Yield rows as Python's values, some at a time."""
    for start in range(0, len(table), _AT_ONCE):
        yield from table.slice(start, _AT_ONCE).to_pylist()


def flat(table: "pa.Table") -> "pa.Table":
    """Return a table whose columns of lists, mappings and tensors are texts of JSON."""
    import pyarrow as pa

    for at, one in enumerate(table.schema):
        kind = one.type.storage_type if isinstance(one.type, pa.BaseExtensionType) else one.type
        if pa.types.is_nested(kind):
            values = [None if value is None else json.dumps(_plain(value)) for value in table[one.name].to_pylist()]
            table = table.set_column(at, one.name, pa.array(values, pa.string()))
    return table


def _plain(value: Any) -> Any:  # noqa: ANN401 - what Arrow holds
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    for kind, written in _WRITTEN.items():
        if isinstance(value, kind):
            return written(value)
    return value
