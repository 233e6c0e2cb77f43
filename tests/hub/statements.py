"""The statements that a database is given, for tests of how many there are."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from shoal_hub.database import Database


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Note the first word of each statement that is executed in the block."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):  # of SQLite alone
            seen.append(statement.split(maxsplit=1)[0])

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
