"""Adds rows of telemetry that may be there already, as after a lost answer, in one statement on either database."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

Rows = Sequence[Mapping[str, Any]]


def add_new(session: Session, table: type[SQLModel], rows: Rows) -> None:
    """Add rows; those whose key is there already are left as they are."""
    if rows:
        session.connection().execute(_insert(session, table).on_conflict_do_nothing(), [dict(one) for one in rows])


def put_newest(
    session: Session,
    table: type[SQLModel],
    rows: Rows,
    *,
    key: Sequence[str],
    is_newer: Callable[[Any, Any], ColumnElement[bool]],
) -> None:
    """Add rows, or put them in the place of those with the same key that are older.

    Args:
        session: An open transaction.
        table: Whose rows they are.
        rows: Values by column; no two with the same key.
        key: The columns of the key.
        is_newer: Whether what comes, the first, is newer than what is there, the second; both by column.
    """
    if not rows:
        return
    adding = _insert(session, table)
    columns = table.__table__.c  # type: ignore[attr-defined]  # SQLModel declares it where it makes the class
    others = {column.name: adding.excluded[column.name] for column in columns if column.name not in key}
    statement = adding.on_conflict_do_update(
        index_elements=list(key), set_=others, where=is_newer(adding.excluded, columns)
    )
    session.connection().execute(statement, [dict(one) for one in rows])


def _insert(session: Session, table: type[SQLModel]) -> Any:  # noqa: ANN401 - of one dialect or the other
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(table)
