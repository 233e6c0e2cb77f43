"""The database: engine, transactions and migrations, the same on SQLite and PostgreSQL.

Tables live beside their feature (`<feature>/tables.py`). Rows that only move forward are updated with a WHERE guard.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum, unique
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic_core import from_json
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    String,
    create_engine,
    event,
    inspect,
    literal,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

from shoal_hub.copying import copy_rows
from shoal_hub.errors import DatabaseError
from shoal_hub.meters import FAILED_TRANSACTIONS, TRANSACTIONS

BUSY_TIMEOUT_MS: Final = 15_000
"""How long a SQLite writer waits for the other process's transaction to end."""
_PART: Final = 500
"""Items that one statement names one by one."""
_CONNECT_TIMEOUT_S: Final = 10
"""How long a connection to PostgreSQL may take to come about; a URL with `connect_timeout` says otherwise."""
_CACHE_KIB: Final = 16_384
"""What one connection to SQLite keeps of the file: the rows of some thousand devices."""
Item = TypeVar("Item")
_ONCE_COMMITTED: Final = "once committed"
"""Key in `Session.info`: what is called after the commit."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"


@unique
class AdvisoryLock(IntEnum):
    """Every advisory lock of PostgreSQL that the hub takes: they share one number space, by session or transaction."""

    MIGRATIONS = 7462531
    """Held while the schema is brought to this version."""
    CONTROLLER = 7462532
    """Held by the controller in charge, for as long as it is."""
    AUDIT = 7462533
    """Held by a transaction from its entries in the audit trail to its commit."""
    FEATURES = 7462534
    """Held by a transaction that changes feature sets or whom they are assigned to, before any row of it."""
    CAPTURES = 7462535
    """Held by a transaction that changes of whom samples are asked, before any row of it; after `FEATURES`."""
    COMPOSITIONS = 7462536
    """Held by a transaction that changes compositions or whom they are assigned to, or makes a model, whose name may be
    none of theirs, before any row of it; after `CAPTURES`."""
    TRACKED_FILES = 7462537
    """Held by a transaction that has a path of a run name bytes, or no longer, before it looks for who names them."""


_HOLD: Final = text("SELECT pg_advisory_xact_lock(:key)")
SECRET: Final = {"audit": "secret"}
"""`info` of a column that the audit trail must not show: hashes of secrets, keys."""
UNAUDITED: Final = {"audit": "none"}
"""`info` of a table or column whose changes are no decisions: telemetry, progress, what other tables decide."""

# Names for every constraint: SQLite can only change a table in batches, and finds constraints by name.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC. SQLite keeps no zone, so it is taken off on the way in and put on on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Turn an aware time into UTC; a naive one is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"storing the time {value}: it has no zone; use aware UTC times"
            raise ValueError(msg)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware UTC time on both engines."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class JsonText(str):
    """A value of a JSON column that is JSON already: it is stored as it is, not written out once more."""

    __slots__ = ()


class _TextsOf(FunctionElement[str]):
    """The texts in a JSON array, as the right side of IN."""

    name = "texts_of"
    type = String()
    inherit_cache = True


@compiles(_TextsOf, "sqlite")
def _texts_on_sqlite(element: _TextsOf, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **options)}))"  # noqa: S608 - a parameter


@compiles(_TextsOf, "postgresql")
def _texts_on_postgresql(element: _TextsOf, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"(SELECT json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSON)))"


def is_among(column: SQLCoreOperations[Any], texts: Iterable[str] | BindParameter[str]) -> ColumnElement[bool]:
    """Return the condition that a text column holds one of these texts.

    They travel as one parameter: `in_` takes one for each, which costs several times as much as the look for the row,
    and has a limit. A statement that is built once has a parameter of its own for them, whose value is `as_texts`.
    """
    parameter = texts if isinstance(texts, BindParameter) else as_texts(texts)
    return column.op("IN", is_comparison=True)(_TextsOf(parameter))


def is_one_of(column: SQLCoreOperations[Any], words: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a text column holds one of a few words that are always the same.

    Each is a parameter whose value stands in the statement; those of a list take their places at each execution.
    """
    return column.in_([literal(word) for word in sorted(words)])


def as_texts(texts: Iterable[str]) -> str:
    """Return texts as one value of a parameter."""
    return json.dumps(sorted(texts))


def in_parts(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield items in parts that one statement can name: databases bound how many parameters one may have."""
    ordered = list(items)
    for start in range(0, len(ordered), _PART):
        yield ordered[start : start + _PART]


def utc_now() -> datetime:
    """Return the system clock's time, aware."""
    return datetime.now(UTC)


class Database:
    """Sessions on one database. Safe to share between threads; each session belongs to one.

    Attributes:
        on_begin: Called with the session of each `transaction` before its block; the audit trail watches from here.
        on_commit: Called after a `transaction` has committed, with what it announced; a process that speaks MQTT
            publishes the wake from here.
        check: Called at the beginning of each `transaction`; what it raises ends it. A controller that another has
            followed is kept from writing here.
    """

    def __init__(self, url: str) -> None:
        self.engine = _open_engine(url)
        # SQLite: a transaction that reads first and writes later can lose its snapshot; writers take the lock at once.
        self._writer = self.engine.execution_options(immediate=True)
        self.on_begin: Callable[[Session], None] | None = None
        self.on_commit: Callable[[frozenset[str]], None] | None = None
        self.check: Callable[[Session], None] | None = None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session for reading: nothing is kept unless the caller commits."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session that commits at the end of the block, or keeps nothing if the block raises."""
        with Session(self._writer, expire_on_commit=False) as session, _timed():
            if self.check is not None:
                self.check(session)
            if self.on_begin is not None:
                self.on_begin(session)
            yield session
            session.commit()
        for _, call in session.info.pop(_ONCE_COMMITTED, ()):
            call()
        what = frozenset(session.info.pop("announced", set()))
        if what and self.on_commit is not None:
            self.on_commit(what)

    @contextmanager
    def rehearsal(self) -> Iterator[Session]:
        """Open a session in which a change can be tried: what it raises is told, what it does is not kept."""
        with Session(self._writer, expire_on_commit=False) as session:
            yield session

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to this version (or to `revision`) by Alembic; safe to call from several processes.

        Raises:
            DatabaseError: The database is not reachable, or its schema is newer than this hub.
        """
        from alembic import command
        from alembic.util.exc import CommandError

        try:
            with self._writer.begin() as connection:
                _lock_migrations(connection)
                command.upgrade(self.alembic_config(connection), revision)
        except (SQLAlchemyError, CommandError) as error:
            msg = f"bringing the database {self.engine.url.render_as_string()} to this version: {error}"
            raise DatabaseError(msg, "check SHOAL_DATABASE_URL, or start the hub version that last used it") from error

    def alembic_config(self, connection: Connection) -> Any:  # noqa: ANN401 - alembic is imported late
        """Return Alembic's configuration, bound to an open connection."""
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        return config

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def announce(session: Session, what: str) -> None:
    """Have `Database.on_commit` told, once `session` has committed, that `what` ("devices", "jobs", …) changed."""
    session.info.setdefault("announced", set()).add(what)


def once_committed(session: Session, call: Callable[[], object]) -> None:
    """Have something called that must not fail, like a count, once `session` has committed.

    It is dropped if the transaction keeps nothing, or a savepoint that it was asked for in.
    """
    session.info.setdefault(_ONCE_COMMITTED, []).append((session.get_nested_transaction(), call))


@event.listens_for(Session, "after_soft_rollback")
def _drop_calls(session: Session, ended: SessionTransaction) -> None:
    """Drop what was to be called once a savepoint's rows are committed: they never will be."""
    if ended.nested and (calls := session.info.get(_ONCE_COMMITTED)):
        session.info[_ONCE_COMMITTED] = [(within, call) for within, call in calls if not _is_part(within, ended)]


def _is_part(within: SessionTransaction | None, savepoint: SessionTransaction) -> bool:
    while within is not None and within is not savepoint:
        within = within.parent
    return within is savepoint


@contextmanager
def _timed() -> Iterator[None]:
    """Count what a transaction takes, and those that keep nothing."""
    began_s = time.perf_counter()
    try:
        yield
    except BaseException:
        FAILED_TRANSACTIONS.inc()
        raise
    finally:
        TRANSACTIONS.observe(time.perf_counter() - began_s)


def hold(session: Session, lock: AdvisoryLock) -> None:
    """Hold a lock until the transaction ends; on SQLite, whose writers come one after the other, there is none."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(_HOLD.bindparams(key=lock))


def add_unless_there(session: Session, *rows: SQLModel) -> None:
    """Add rows; those that another transaction has added meanwhile, as PostgreSQL lets it, stand.

    Raises:
        IntegrityError: Something other than a row of the same key is in the way.
    """
    try:
        with session.begin_nested():
            session.add_all(rows)
    except IntegrityError:
        for row in rows:
            if session.get(type(row), inspect(type(row)).primary_key_from_instance(row)) is None:
                if len(rows) == 1:
                    raise
                add_unless_there(session, row)


def _open_engine(url: str) -> Engine:
    """Open the engine; its errors show statements without their parameters, among which secrets may be."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        msg = f"opening the database: {url.split(':', 1)[0][:20]!r}… is no database URL"  # the rest may hold a password
        raise DatabaseError(msg, "use sqlite:////path/hub.sqlite or postgresql://user@host/name") from error
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        return _open_postgresql(parsed)
    msg = f"opening the database: {parsed.get_backend_name()} is not supported"
    raise DatabaseError(msg, "use sqlite:////path/hub.sqlite or postgresql://user@host/name")


def _open_postgresql(url: Any) -> Engine:  # noqa: ANN401 - as below
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_TIMEOUT_S},
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=_to_json,
        json_deserializer=_from_json,
    )
    event.listen(engine, "do_executemany", copy_rows)
    return engine


def _to_json(value: object) -> str:
    return value if isinstance(value, JsonText) else json.dumps(value)


def _from_json(content: str | bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return what JSON says, read in half the time that the standard library takes."""
    try:
        return from_json(content)
    except ValueError:  # half a surrogate pair and very deep nesting are read by the library alone
        return json.loads(content)


_PRAGMAS: Final = (
    "journal_mode=WAL",
    f"busy_timeout={BUSY_TIMEOUT_MS}",
    "foreign_keys=ON",
    "synchronous=NORMAL",
    f"cache_size=-{_CACHE_KIB}",
    "temp_store=MEMORY",
)


def _open_sqlite(url: Any) -> Engine:  # noqa: ANN401 - sqlalchemy.engine.URL, kept out of the signature's imports
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, hide_parameters=True, json_serializer=_to_json, json_deserializer=_from_json)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:  # noqa: ANN401
        connection.isolation_level = None  # the driver begins nothing by itself; `begin` below does
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _lock_migrations(connection: Connection) -> None:
    """Let one process migrate at a time; on SQLite the immediate transaction is the lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(_HOLD.bindparams(key=AdvisoryLock.MIGRATIONS))
