"""Rows from SQL databases, by SQLAlchemy, some at a time as the server's cursor gives them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.ingestion.column_types import ColumnTypes, arrow_types
from shoal_training.ingestion.records import RecordTables, inferred
from shoal_training.ingestion.schemas import doubled
from shoal_training.ingestion.source import Reading, Source
from shoal_training.ingestion.sql_url import SqlUrl, url_with
from shoal_training.secret import secret, without

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import URL, Connection


class SqlSource(Source):
    """What a query of a database gives, or a whole table."""

    kind: ClassVar[str] = "sql"

    url: SqlUrl
    """As SQLAlchemy takes it, without a password: `postgresql://reader@db.example/plant`, `sqlite:///plant.db`
    (relative to the pipeline file)."""
    password_env: str | None = Field(default=None, min_length=1, max_length=256)
    """The environment variable that holds the password."""
    query: str | None = Field(default=None, min_length=1, max_length=65_536)
    """With an ORDER BY, or its rows may come in another order next time, which is another version of the data."""
    table: str | None = Field(default=None, pattern=r"^[^.]+(\.[^.]+)?$", max_length=256)
    """Instead of a query: `table` or `schema.table`, in the order of its primary key."""
    columns: ColumnTypes = Field(default={})

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.query is None) == (self.table is None):
            raise ValueError("`query` or `table` expected, one of them; name what is read")
        return self

    @property
    def label(self) -> str:
        """See `Source`."""
        return self.name or f"{self.url} {self.table or 'query'}"

    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """See `Source`."""
        from sqlalchemy.exc import SQLAlchemyError

        password = secret(self.password_env, f"reading {self.label}") if self.password_env else None
        try:
            with self._connected(reading, password) as connection:
                yield from self._read(connection, reading)
        except (SQLAlchemyError, ImportError) as error:
            told = without(str(getattr(error, "orig", None) or error), password or "").strip()
            raise DataError(f"reading {self.label}: {told}; mend the URL, the query or the rights") from error

    def fingerprint(self, reading: Reading) -> str | None:  # noqa: ARG002 - only reading tells
        """See `Source`."""
        return None

    @contextmanager
    def _connected(self, reading: Reading, password: str | None) -> "Iterator[Connection]":
        """Connect so that rows come as they are read, all of one moment, and nothing can be written."""
        from sqlalchemy import create_engine

        engine = create_engine(self._url(reading, password), hide_parameters=True)
        options: dict[str, Any] = {"stream_results": True}
        if engine.dialect.name == "postgresql":
            options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    _confine(connection)
                yield connection.execution_options(**options)
        finally:
            engine.dispose()

    def _url(self, reading: Reading, password: str | None) -> "URL":
        from sqlalchemy import make_url

        url = make_url(self.url)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            path = reading.folder.absolute() / url.database
            if not path.is_file():
                raise DataError(f"reading {self.label}: {path} is no file; name the database's")
            return url.set(database=f"file:{quote(str(path))}", query={**url.query, "mode": "ro", "uri": "true"})
        return url_with(self.url, reading.folder, password)

    def _read(self, connection: "Connection", reading: Reading) -> Iterator["pa.Table"]:
        result = connection.execute(self._statement(connection), execution_options={"yield_per": reading.batch_rows})
        names = list(result.keys())
        if twice := doubled(names):
            raise DataError(f"reading {self.label}: it gives {twice} more than once; name them apart by AS")
        made = RecordTables(self.label, reading, declared=arrow_types(self.columns))
        done = 0
        for batch in result.partitions(reading.batch_rows):
            rows = [(done + at, dict(zip(names, row, strict=True))) for at, row in enumerate(batch, 1)]
            if made.schema is None:
                made.schema = self._with_later(connection, inferred([row for _, row in rows], made.declared))
            table = made.table(rows)
            done += len(batch)
            if len(table):
                yield table
            reading.progress(f"read {self.label}", done, done)

    def _statement(self, connection: "Connection") -> Any:  # noqa: ANN401 - SQLAlchemy's, of several kinds
        from sqlalchemy import MetaData, Table, select, text

        if self.query is not None:
            return text(self.query.rstrip().rstrip(";").replace(":", r"\:"))
        schema, _, name = str(self.table).rpartition(".")
        table = Table(name, MetaData(), schema=schema or None, autoload_with=connection)
        return select(table).order_by(*table.primary_key.columns)

    def _with_later(self, connection: "Connection", schema: "pa.Schema") -> "pa.Schema":
        """Give columns that have nothing in the first rows the type of the first value that comes later."""
        from sqlalchemy import column, select

        for at, one in enumerate(schema):
            if str(one.type) != "null":
                continue
            rows = self._statement(connection).columns(column(one.name)).subquery() if self.query else None
            source = rows if rows is not None else self._statement(connection).subquery()
            found = connection.execute(
                select(source.c[one.name]).where(source.c[one.name].is_not(None)).limit(1)
            ).first()
            schema = schema.set(at, _retyped(one, found))
        return schema


def _confine(connection: "Connection") -> None:
    """Keep queries of SQLite to the file that was named: ATTACH opens others, VACUUM INTO writes them."""
    import sqlite3

    def decide(action: int, *_: object) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK

    driver: Any = connection.connection.driver_connection
    driver.set_authorizer(decide)


def _retyped(field: "pa.Field", found: Sequence[Any] | None) -> "pa.Field":
    return field if found is None else inferred([{field.name: found[0]}], {}).field(0)
