"""Rows into a table of PostgreSQL by COPY in its binary form: half the work of an INSERT each, for driver and server.

A statement that goes this way says so by the option `COPIED`. It goes through SQLAlchemy like any other: its errors are
SQLAlchemy's, and whoever watches the connection sees it.
"""

from collections.abc import Sequence
from typing import Any, Final

from psycopg import Cursor
from psycopg.errors import NumericValueOutOfRange
from sqlalchemy import Dialect, FromClause
from sqlalchemy.types import TypeEngine

COPIED: Final = "copied"
"""Execution option of a COPY: what `copied_types` returns of its columns."""
_TYPES: Final = {
    "BIGINT": "int8",
    "BOOLEAN": "bool",
    "BYTEA": "bytea",
    "FLOAT": "float8",
    "INTEGER": "int4",
    "JSON": "json",
    "TEXT": "text",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "VARCHAR": "text",
}
"""The names that the driver has for types, by those that SQLAlchemy has."""
_RANGES: Final = {"int4": range(-(2**31), 2**31), "int8": range(-(2**63), 2**63)}


def copy_statement(table: FromClause, columns: Sequence[str], dialect: Dialect) -> str:
    """Return the words that copy rows, whose values come in the order of these columns."""
    name = dialect.identifier_preparer.format_table(table)
    named = ", ".join(dialect.identifier_preparer.format_column(table.columns[one]) for one in columns)
    return f"COPY {name} ({named}) FROM STDIN (FORMAT BINARY)"


def copied_types(types: Sequence[TypeEngine[Any]], dialect: Dialect) -> tuple[str, ...]:
    """Return the names that the driver has for columns' types.

    Raises:
        KeyError: It is not known how values of one are copied.
    """
    return tuple(_TYPES[one.compile(dialect)] for one in types)


def copy_rows(cursor: "Cursor[Any]", statement: str, rows: Sequence[Sequence[Any]], context: Any) -> bool | None:  # noqa: ANN401 - the dialect's own
    """Execute a statement for many rows if it is a COPY: a listener to SQLAlchemy's `do_executemany`.

    Returns:
        Whether it is done; None where it is no COPY.

    Raises:
        NumericValueOutOfRange: A number is too large for its column; the driver would cut off what is too much.
    """
    types: Sequence[str] | None = context.execution_options.get(COPIED)
    if types is None:
        return None
    for place, kind in enumerate(types):
        if kind in _RANGES and not all(row[place] is None or row[place] in _RANGES[kind] for row in rows):
            raise NumericValueOutOfRange(f"copying rows: a number is out of range, {kind} expected")
    with cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
    return True
