"""Sees what a transaction changes: flushed objects, UPDATE and DELETE statements, and rows that `Bulk` adds by key.

What a row was is read from the database before the first statement that touches it; what it is, when the transaction
commits, unless the one statement that has touched it says that in full. So nothing depends on what the ORM remembers.
Every table is audited unless it is marked UNAUDITED.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from operator import itemgetter
from types import NoneType
from typing import Any, Final, NamedTuple

from sqlalchemy import Boolean, Column, Connection, Integer, Table, TextClause, event, inspect, select, tuple_
from sqlalchemy.sql import Delete, Insert, Update
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session

from shoal_hub.audit.entry import canonical_json
from shoal_hub.bulk import WRITTEN, Written
from shoal_hub.database import SECRET, UNAUDITED, is_among
from shoal_hub.errors import HubError

REDACTED: Final = "(secret)"
MAX_VALUE_BYTES: Final = 1024
"""A value that is longer is replaced by its SHA-256 and size."""
MAX_ROWS: Final = 100
"""Rows of one table that an entry shows; the others are there as one SHA-256 and a count."""
_BATCH: Final = 500
_SHORT_CHARS: Final = MAX_VALUE_BYTES // 12 - 1
"""Characters of a text that is no long value, whatever they are: one takes at most twelve bytes, and quotes two."""
_KEPT_TYPES: Final = frozenset({str, int, bool})
"""Types of values that a column of the type gives back as they were given."""
_WATCHED: Final = "audit watched"

Key = tuple[Any, ...]
Row = dict[str, Any]


class UnauditableError(HubError):
    """A statement changes rows in a way that the audit trail cannot follow."""

    code = "unauditable"


class _Column(NamedTuple):
    """A column that entries show, and what makes of a value one that they hold; None: it is one."""

    name: str
    plain: Callable[[Any], Any] | None


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
        # Rows as they were added, by a statement that says all of them, and that nothing has touched since.
        self._standing: dict[str, dict[Key, Row]] = {}
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
            standing = self._standing.get(name, {})
            others = [key for key in rows if key not in standing]
            now = _read(self._session.connection(), self._tables[name], others) | standing
            columns = _shown(self._tables[name])
            in_order = sorted(rows.items(), key=itemgetter(0))
            changed = [(key, *_change(columns, row, now.get(key))) for key, row in in_order]
            _show(difference, name, [one for one in changed if one[1] is not None or one[2] is not None])
        return difference

    def _after_begin(self, _session: Session, _transaction: object, connection: Connection) -> None:
        event.listen(connection, "before_execute", self._before_execute)
        event.listen(connection, "before_cursor_execute", self._before_cursor_execute)
        event.listen(connection, "after_cursor_execute", self._after_cursor_execute)

    def _after_rollback(self, _session: Session, _transaction: object) -> None:
        self._is_flushing = False
        self._standing.clear()  # what it has added may be gone

    def _before_flush(self, session: Session, *_: object) -> None:
        rows: dict[Table, list[Key]] = {}
        for one in [*session.dirty, *session.deleted]:
            table, state = inspect(one).mapper.local_table, inspect(one)
            if _is_audited(table) and state.identity is not None:
                rows.setdefault(table, []).append(tuple(state.identity))
        for table, keys in rows.items():
            known = self._before.get(table.name, {})
            new = [key for key in keys if key not in known]
            self._note(table, keys, _read(session.connection(), table, new, is_locking=True))
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
        try:
            made = _keys(table, written.rows)
        except KeyError:
            raise _unauditable(sql) from None
        self._note_made(table, made, statement.entity_description["entity"])

    def _after_cursor_execute(
        self,
        _connection: object,
        _cursor: object,
        _sql: object,
        _values: object,
        context: Any,  # noqa: ANN401 - the dialect's own
        _many: object,
    ) -> None:
        """Know from now on what was added by a statement that says all of its rows."""
        written: Written | None = context.execution_options.get(WRITTEN)
        if written is None or written.same is None:
            return
        table = written.statement.table
        if isinstance(table, Table) and _is_audited(table) and _says_all(table, written.rows, written.same):
            left_out = dict.fromkeys(table.columns.keys())
            rows = [{**left_out, **row, **written.same} for row in written.rows]
            self._standing.setdefault(table.name, {}).update(zip(_keys(table, rows), rows, strict=True))

    def _note_made(self, table: Table, keys: Sequence[Key], entity: type) -> None:
        feature = entity.__module__.split(".")[1]
        self._note(table, keys, {})
        for key in keys:
            self.made.setdefault(_name(table.name, key), feature)

    def _note(self, table: Table, keys: Iterable[Key], rows: dict[Key, Row]) -> None:
        self._tables.setdefault(table.name, table)
        known, standing = self._before.setdefault(table.name, {}), self._standing.get(table.name, {})
        for key in keys:
            known.setdefault(key, rows.get(key))
            standing.pop(key, None)


def is_watched(session: Session) -> bool:
    """Whether the audit trail follows row by row what this session changes: what it adds has to say its key."""
    return _WATCHED in session.info


def _keys(table: Table, rows: Sequence[Mapping[str, Any]]) -> list[Key]:
    """Return the keys of rows that were added; KeyError: the database makes them."""
    columns = [[row[column.name] for row in rows] for column in table.primary_key.columns]
    return list(zip(*columns, strict=True))


def _says_all(table: Table, rows: Sequence[Mapping[str, Any]], same: Mapping[str, Any]) -> bool:
    """Whether rows are read as they were added: their values are of types that databases keep as they are."""
    for name, column in table.columns.items():
        if name in same:
            kinds = {type(same[name])}
        elif name in rows[0]:
            kinds = {type(row[name]) for row in rows}
        elif column.default is None and column.server_default is None:
            kinds = {NoneType}
        else:
            return False
        if not kinds <= {NoneType, *_KEPT_TYPES & {_python_type(column)}}:
            return False
    return not any(key.ondelete for key in table.foreign_keys)


def _python_type(column: Column[Any]) -> type:
    kind = column.type
    return (kind.impl_instance if isinstance(kind, TypeDecorator) else kind).python_type


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
    first, *others = table.primary_key.columns
    if others:
        return tuple_(first, *others).in_(keys)
    of_rows = [key[0] for key in keys]
    return is_among(first, of_rows) if _python_type(first) is str else first.in_(of_rows)


def _read_where(
    connection: Connection, table: Table, where: ColumnElement[bool] | None, *, is_locking: bool
) -> dict[Key, Row]:
    wanted = select(table) if where is None else select(table).where(where)
    names = [column.name for column in table.columns]
    keys = [names.index(column.name) for column in table.primary_key.columns]
    rows = connection.execute(wanted.with_for_update() if is_locking else wanted)
    return {tuple(row[place] for place in keys): dict(zip(names, row, strict=True)) for row in rows.all()}


def _shown(table: Table) -> list[_Column]:
    """Return the columns that entries show, in the order in which canonical JSON has them."""
    return sorted(_Column(one.name, _plain_of(one)) for one in table.columns if one.info != UNAUDITED)


def _plain_of(column: Column[Any]) -> Callable[[Any], Any] | None:
    if column.info == SECRET:
        return lambda _: REDACTED
    return None if isinstance(column.type, Integer | Boolean) else _plain  # none has integers of more than 64 bits


def _change(columns: Sequence[_Column], before: Row | None, after: Row | None) -> tuple[Row | None, Row | None]:
    """Return the changed columns as they were and as they are; for a row that came or went, all that are not null."""
    if before is not None and after is not None:
        columns = [column for column in columns if before[column.name] != after[column.name]]
        return (_values(columns, before), _values(columns, after)) if columns else (None, None)
    return _present(columns, before), _present(columns, after)


def _present(columns: Sequence[_Column], row: Row | None) -> Row | None:
    if row is None:
        return None
    return {
        name: plain(value) if plain else value for name, plain in columns if (value := row[name]) is not None
    } or None


def _values(columns: Sequence[_Column], row: Row) -> Row:
    return dict.fromkeys(column.name for column in columns) | (_present(columns, row) or {})


def _plain(value: Any) -> Any:  # noqa: ANN401 - any column's value
    """Return a value as an entry may hold it: long ones by their hash."""
    if isinstance(value, str) and len(value) <= _SHORT_CHARS:
        return value
    if isinstance(value, bytes):
        return _digest(value)
    if isinstance(value, datetime):
        return value.isoformat()
    content = canonical_json(value).encode()
    return value if len(content) <= MAX_VALUE_BYTES else _digest(content)


def _digest(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _name(table: str, key: Key) -> str:
    return f"{table}/{','.join(map(str, key))}"


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
