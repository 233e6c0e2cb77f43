"""Statements at the speed of the driver: what SQLAlchemy does for each, and each row, takes longer than the database.

For what is executed for every message or every batch of them. Everything else says what it has to say in the usual way.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Unpack

from sqlalchemy import BindParameter, Dialect, FromClause, Insert, Select, Update, bindparam, insert, inspect
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.types import TypeEngine
from sqlmodel import Session, SQLModel

from shoal_hub.copying import COPIED, copied_types, copy_statement
from shoal_hub.database import UtcDateTime

Process = Callable[[Any], Any]
WRITTEN: Final = "bulk written"
"""Execution option of a connection's statement: the `Written` that the driver is handed as text."""
_MOST_TIMES: Final = 4096
"""Times that are kept in the driver's form and in Python's: most rows of a batch have the same ones."""


class _Form(NamedTuple):
    """A statement in the words of one database.

    Attributes:
        sql: The statement.
        parts: Each parameter in its order: its name, what makes a value one that the driver takes, if something has
            to, and the value where it stands in the statement itself.
        is_positional: Whether the driver takes a tuple, not a mapping.
        types: Those of the columns, if it is a COPY.
    """

    sql: str
    parts: Sequence[tuple[str, Process | None, Any]]
    is_positional: bool
    types: Sequence[str] | None = None

    def values(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return rows as the driver takes them: tuples or mappings."""
        columns = [
            [constant] * len(rows)
            if constant is not _BY_ROW
            else [process(row[name]) for row in rows]
            if process is not None
            else [row[name] for row in rows]
            for name, process, constant in self.parts
        ]
        values = list(zip(*columns, strict=True))
        if self.is_positional:
            return values
        names = [name for name, _, _ in self.parts]
        return [dict(zip(names, one, strict=True)) for one in values]


_BY_ROW: Final = object()


class Written(NamedTuple):
    """What a statement in the driver's words writes, for whoever watches the connection.

    Attributes:
        statement: What the words were made of.
        rows: Its values, row by row.
        same: Where `rows` give values by their column's name, those that all rows have besides; None where they do not.
    """

    statement: Insert | Update
    rows: Sequence[Mapping[str, Any]]
    same: Mapping[str, Any] | None = None


class Query:
    """A SELECT of columns that is put into words once for each database.

    Args:
        statement: Each value that differs is a `bindparam` of its own; no IN but `is_one_of`, and `is_among` with a
            parameter.
    """

    def __init__(self, statement: Select[Unpack[tuple[Any, ...]]]) -> None:
        self._statement: Final = statement
        self._forms: dict[str, _Form] = {}
        self._processes: dict[str, Sequence[tuple[int, Process]]] = {}

    def rows(self, session: Session, **values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any value of a column
        """Return the rows.

        Args:
            session: An open session.
            values: The values by parameter; all of them.

        Raises:
            KeyError: A value lacks.
        """
        connection = session.connection()
        form = self._forms.get(connection.dialect.name)
        if form is None:
            form = self._forms[connection.dialect.name] = _form_of(self._statement, connection.dialect)
        with connection.exec_driver_sql(form.sql, *form.values([values])) as result:
            cursor: DBAPICursor = result.cursor  # its rows are tuples, which those of the result would be made of
            processes = self._processes.get(connection.dialect.name)
            if processes is None:
                processes = self._processes[connection.dialect.name] = self._needed(cursor, connection.dialect)
            return _processed(cursor.fetchall(), processes)

    def _needed(self, cursor: DBAPICursor, dialect: Dialect) -> Sequence[tuple[int, Process]]:
        """Return what makes the values of some columns, by their places, values of Python's."""
        types = [column.type.dialect_impl(dialect) for column in self._statement.selected_columns]
        told = [one[1] for one in cursor.description]
        made: list[Process | None] = [
            one.result_processor(dialect, kind) for one, kind in zip(types, told, strict=True)
        ]
        if dialect.name == "sqlite":  # a server's times come in its zone, where an hour comes twice a year
            made = [_kept(one, process) for one, process in zip(types, made, strict=True)]
        every = enumerate(made)
        return [(place, process) for place, process in every if process is not None]


def _processed(rows: Sequence[Any], processes: Sequence[tuple[int, Process]]) -> list[tuple[Any, ...]]:
    if not rows or not processes:
        return list(rows)
    columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
    for place, process in processes:
        columns[place] = map(process, columns[place])
    return list(zip(*columns, strict=True))


class Bulk:
    """A statement whose parameters are given row by row.

    Where the audit trail follows a transaction, rows of audited tables may be added, each with its key by the column's
    name; what else is written to such a table by this way is refused.

    Args:
        statement: Each value that differs by row is a `bindparam` of its own; no IN, which is another statement for
            each number of values.
        same: The values that all rows have besides, where those that are given go by their column's name.
    """

    def __init__(self, statement: Insert | Update, same: Mapping[str, Any] | None = None) -> None:
        self._statement: Final = statement
        self._same: Final = same
        self._forms: dict[str, _Form] = {}

    def execute(self, session: Session, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute the statement for each row, and return how many rows of the table were changed or added.

        Args:
            session: An open transaction; objects in it are not brought up to date.
            rows: The values by parameter; all of them, for each row.

        Raises:
            KeyError: A row lacks a value.
        """
        if not rows:
            return 0
        connection = session.connection()
        form = self._form(connection.dialect, len(rows))
        options = {WRITTEN: Written(self._statement, rows, self._same), COPIED: form.types}
        return connection.exec_driver_sql(form.sql, form.values(rows), options).rowcount

    def _form(self, dialect: Dialect, _count: int) -> _Form:
        """Return the form in which so many rows are written."""
        form = self._forms.get(dialect.name)
        if form is None:
            form = self._forms[dialect.name] = _form_of(self._statement, dialect)
        return form


class Addition(Bulk):
    """Adds rows to a table: to one of PostgreSQL by COPY, if there are several.

    Where nothing is left to the database but nulls, it is known without a look what they are.

    Args:
        table: The table.
        by_row: The columns whose values are given row by row, by their names.
        same: The values of other columns, which all rows have.
    """

    def __init__(self, table: type[SQLModel], by_row: Iterable[str], same: Mapping[str, Any]) -> None:
        names = list(by_row)
        self._table: Final = inspect(table).local_table
        self._names = frozenset(names)
        rest = {name: value for name, value in same.items() if name not in self._names}
        kinds = {name: self._table.columns[name].type for name in rest}
        values = {name: bindparam(name, value, type_=kinds[name]) for name, value in rest.items()}
        super().__init__(insert(table).values(values | {name: bindparam(name) for name in names}), rest)
        self._copied: _Form | None = None

    def execute(self, session: Session, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add the rows, and return how many they are.

        Raises:
            ValueError: A row gives other columns than those that are given row by row.
        """
        if any(row.keys() != self._names for row in rows):
            raise ValueError(f"adding rows: columns {', '.join(sorted(self._names))} expected of each")
        return super().execute(session, rows)

    def _form(self, dialect: Dialect, count: int) -> _Form:
        plain = super()._form(dialect, count)
        if dialect.name != "postgresql" or count == 1:
            return plain
        if self._copied is None:
            self._copied = _copied(plain, self._table, dialect)
        return self._copied


def _copied(form: _Form, table: FromClause, dialect: Dialect) -> _Form:
    """Return the form of a COPY of what an INSERT adds."""
    names = [name for name, _, _ in form.parts]
    types = copied_types([table.columns[name].type for name in names], dialect)
    return _Form(copy_statement(table, names, dialect), form.parts, is_positional=True, types=types)


def _form_of(statement: Insert | Update | Select[Unpack[tuple[Any, ...]]], dialect: Dialect) -> _Form:
    compiled: Any = statement.compile(dialect=dialect)
    names = compiled.positiontup if compiled.positional else list(compiled.binds)
    return _Form(
        compiled.string, [_part_of(name, compiled.binds[name], dialect) for name in names], compiled.positional
    )


def _part_of(name: str, bound: BindParameter[Any], dialect: Dialect) -> tuple[str, Process | None, Any]:
    process = bound.type.dialect_impl(dialect).bind_processor(dialect)
    if not bound.required:
        value = bound.effective_value
        return name, None, process(value) if process is not None else value
    return name, _kept(bound.type, process), _BY_ROW


def _kept(kind: TypeEngine[Any], process: Process | None) -> Process | None:
    """Return what makes a column's values, with what has come of times kept."""
    return lru_cache(_MOST_TIMES)(process) if process is not None and isinstance(kind, UtcDateTime) else process
