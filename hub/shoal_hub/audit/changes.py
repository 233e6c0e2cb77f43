"""Sees what a transaction changes: flushed objects, UPDATE and DELETE statements, and rows that `Bulk` adds by key.

What a row was is read from the database before the first statement that touches it; what it is, when the transaction
commits. So nothing depends on what the ORM remembers. Every table is audited unless it is marked UNAUDITED.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, TextClause, event, inspect, select, tuple_
from sqlalchemy.sql import Delete, Insert, Update
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import Session

from shoal_hub.audit.entry import canonical_json
from shoal_hub.bulk import WRITTEN, Written
from shoal_hub.database import SECRET, UNAUDITED
from shoal_hub.errors import HubError

REDACTED: Final = "(secret)"
MAX_VALUE_BYTES: Final = 1024
"""A value that is longer is replaced by its SHA-256 and size."""
MAX_ROWS: Final = 100
"""Rows of one table that an entry shows; the others are there as one SHA-256 and a count."""
_BATCH: Final = 500
_SHORT_CHARS: Final = MAX_VALUE_BYTES // 12 - 1
"""Characters of a text that is no long value, whatever they are: one takes at most twelve bytes, and quotes two."""
_WATCHED: Final = "audit watched"

Key = tuple[Any, ...]
Row = dict[str, Any]


class UnauditableError(HubError):
    """A statement changes rows in a way that the audit trail cannot follow."""

    code = "unauditable"


class Difference(NamedTuple):
    """The changed columns of each row, by `table/key`; a new row has no before, a deleted one no after."""

    before: dict[str, Any]
    after: dict[str, Any]


class Changes:
    """Watches one session, from before its first statement."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # By name: the table that an ORM statement carries is another object than the one it was declared as.
        self._tables: dict[str, Table] = {}
        self._before: dict[str, dict[Key, Row | None]] = {}
        self._is_flushing = False
        self.made: dict[str, str] = {}
        """The hub's feature whose table a new row is in, by `table/key`, in the order in which rows were made."""
        session.info[_WATCHED] = True
        event.listen(session, "after_begin", self._after_begin)
        event.listen(session, "before_flush", self._before_flush)
        event.listen(session, "after_flush", self._after_flush)
        event.listen(session, "after_soft_rollback", self._after_rollback)

    def difference(self) -> Difference:
        """Return what has changed since the transaction began; the session must be flushed."""
        difference = Difference({}, {})
        for name, rows in self._before.items():
            now = _read(self._session.connection(), self._tables[name], list(rows))
            columns = [column for column in self._tables[name].columns if column.info != UNAUDITED]
            in_order = sorted(rows.items(), key=itemgetter(0))
            changed = [(key, *_change(columns, row, now.get(key))) for key, row in in_order]
            _show(difference, name, [one for one in changed if one[1] is not None or one[2] is not None])
        return difference

    def _after_begin(self, _session: Session, _transaction: object, connection: Connection) -> None:
        event.listen(connection, "before_execute", self._before_execute)
        event.listen(connection, "before_cursor_execute", self._before_cursor_execute)

    def _after_rollback(self, _session: Session, _transaction: object) -> None:
        self._is_flushing = False

    def _before_flush(self, session: Session, *_: object) -> None:
        rows: dict[Table, list[Key]] = {}
        for one in [*session.dirty, *session.deleted]:
            table, state = inspect(one).mapper.local_table, inspect(one)
            if _is_audited(table) and state.identity is not None:
                rows.setdefault(table, []).append(tuple(state.identity))
        for table, keys in rows.items():
            self._note(table, keys, _read(session.connection(), table, keys, is_locking=True))
        self._is_flushing = True

    def _after_flush(self, session: Session, *_: object) -> None:
        self._is_flushing = False
        for one in session.new:
            mapper = inspect(one).mapper
            table, key = mapper.local_table, tuple(mapper.primary_key_from_instance(one))
            if _is_audited(table):
                self._note_made(table, [key], mapper.class_)

    def _before_execute(
        self, connection: Connection, statement: object, many: Sequence[object], params: object, _options: object
    ) -> None:
        if self._is_flushing or not _writes(statement):
            return
        table = getattr(statement, "table", None)
        if isinstance(table, Table) and not _is_audited(table):
            return
        if many or params or not isinstance(table, Table) or not isinstance(statement, Update | Delete):
            raise _unauditable(statement)
        found = _read_where(connection, table, statement.whereclause, is_locking=True)
        self._note(table, list(found), found)

    def _before_cursor_execute(
        self,
        _connection: object,
        _cursor: object,
        sql: str,
        _values: object,
        context: Any,  # noqa: ANN401 - the dialect's own
        _many: object,
    ) -> None:
        """Look at what was handed to the driver as text, which `before_execute` does not see."""
        if context.compiled is not None or _reads(sql):
            return
        written: Written | None = context.execution_options.get(WRITTEN)
        if written is None:
            raise _unauditable(sql)
        statement, table = written.statement, written.statement.table
        if isinstance(table, Table) and not _is_audited(table):
            return
        if not isinstance(table, Table) or not _only_adds(statement):
            raise _unauditable(sql)
        keys = [column.name for column in table.primary_key.columns]
        if not all(name in row for row in written.rows for name in keys):
            raise _unauditable(sql)
        made = [tuple(row[name] for name in keys) for row in written.rows]
        self._note_made(table, made, statement.entity_description["entity"])

    def _note_made(self, table: Table, keys: Sequence[Key], entity: type) -> None:
        feature = entity.__module__.split(".")[1]
        self._note(table, keys, {})
        for key in keys:
            self.made.setdefault(_name(table.name, key), feature)

    def _note(self, table: Table, keys: Iterable[Key], rows: dict[Key, Row]) -> None:
        self._tables.setdefault(table.name, table)
        known = self._before.setdefault(table.name, {})
        for key in keys:
            known.setdefault(key, rows.get(key))


def is_watched(session: Session) -> bool:
    """Whether the audit trail follows row by row what this session changes: what it adds has to say its key."""
    return _WATCHED in session.info


def _only_adds(statement: object) -> bool:
    """Whether a statement adds the rows that it is given, and touches none that is there."""
    return type(statement) is Insert and statement.select is None  # what may update as well is of a class of its own


def _writes(statement: object) -> bool:
    is_text = isinstance(statement, TextClause) and not _reads(str(statement))
    return is_text or isinstance(statement, Insert | Update | Delete)


def _reads(sql: str) -> bool:
    return sql.lstrip().upper().startswith(("SELECT", "PRAGMA"))


def _unauditable(statement: object) -> UnauditableError:
    return UnauditableError(
        f"recording a change: {str(statement)[:200]!r} is no flush of an object, no plain UPDATE or DELETE, and "
        "adds no rows by their keys",
        "write rows through the session's objects, or mark the table as UNAUDITED",
    )


def _is_audited(table: object) -> bool:
    return isinstance(table, Table) and table.info != UNAUDITED


def _read(connection: Connection, table: Table, keys: Sequence[Key], *, is_locking: bool = False) -> dict[Key, Row]:
    rows: dict[Key, Row] = {}
    left = iter(keys)
    while part := list(islice(left, _BATCH)):
        rows |= _read_where(connection, table, _is_one_of(table, part), is_locking=is_locking)
    return rows


def _is_one_of(table: Table, keys: Sequence[Key]) -> ColumnElement[bool]:
    columns = list(table.primary_key.columns)
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return tuple_(*columns).in_(keys)


def _read_where(
    connection: Connection, table: Table, where: ColumnElement[bool] | None, *, is_locking: bool
) -> dict[Key, Row]:
    wanted = select(table) if where is None else select(table).where(where)
    names = [column.name for column in table.columns]
    keys = [names.index(column.name) for column in table.primary_key.columns]
    rows = connection.execute(wanted.with_for_update() if is_locking else wanted)
    return {tuple(row[place] for place in keys): dict(zip(names, row, strict=True)) for row in rows.all()}


def _change(columns: Sequence[Any], before: Row | None, after: Row | None) -> tuple[Row | None, Row | None]:
    """Return the changed columns as they were and as they are; for a row that came or went, all that are not null."""
    if before is not None and after is not None:
        columns = [column for column in columns if before[column.name] != after[column.name]]
        return (_values(columns, before), _values(columns, after)) if columns else (None, None)
    return _present(columns, before), _present(columns, after)


def _present(columns: Sequence[Any], row: Row | None) -> Row | None:
    return _values([column for column in columns if row[column.name] is not None], row) or None if row else None


def _values(columns: Sequence[Any], row: Row) -> Row:
    return {column.name: _plain(column, row[column.name]) for column in columns}


def _plain(column: Any, value: Any) -> Any:  # noqa: ANN401 - any column's value
    """Return a value as an entry may hold it: secrets hidden, long ones by their hash."""
    if value is None:
        return None
    if column.info == SECRET:
        return REDACTED
    if isinstance(value, int) or (isinstance(value, str) and len(value) <= _SHORT_CHARS):
        return value  # no column has integers of more than 64 bits
    if isinstance(value, bytes):
        return _digest(value)
    if isinstance(value, datetime):
        return value.isoformat()
    content = canonical_json(value).encode()
    return value if len(content) <= MAX_VALUE_BYTES else _digest(content)


def _digest(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _name(table: str, key: Key) -> str:
    return f"{table}/{','.join(str(part) for part in key)}"


def _show(difference: Difference, table: str, changed: Sequence[tuple[Key, Row | None, Row | None]]) -> None:
    for key, before, after in changed[:MAX_ROWS]:
        name = _name(table, key)
        if before is not None:
            difference.before[name] = before
        if after is not None:
            difference.after[name] = after
    if rest := changed[MAX_ROWS:]:
        content = canonical_json([[[str(part) for part in key], before, after] for key, before, after in rest])
        difference.after[f"{table}/…"] = {"rows": len(rest)} | _digest(content.encode())
