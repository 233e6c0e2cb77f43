"""Answers in a table of a SQL database, by SQLAlchemy: a part's rows and its note in one transaction.

Beside the table, `shoal_inference_parts` notes parts, and `shoal_inference_runs` the manifests of runs that are whole:
who joins with it on `shoal_run` sees a run as a whole or not at all.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field

from shoal_training.batch_inference.manifest import Manifest, WrittenPart
from shoal_training.batch_inference.sinks.rows import flat
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext, Writer, content_sha256
from shoal_training.errors import SinkError
from shoal_training.ingestion.sql_url import SqlUrl, url_with
from shoal_training.secret import secret, without

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine, Table

RUN, PART = "shoal_run", "shoal_part"
"""Columns that each row has beside the answers."""
PARTS_TABLE, RUNS_TABLE = "shoal_inference_parts", "shoal_inference_runs"
_AT_ONCE: Final = 2_000
"""Rows of one INSERT."""


class SqlSink(Sink):
    """A table, which is made where it is missing."""

    kind: ClassVar[str] = "sql"
    is_exactly_once: ClassVar[bool] = True

    url: SqlUrl
    """As SQLAlchemy takes it, without a password: `postgresql://writer@db.example/plant`, `sqlite:///plant.db`."""
    password_env: str | None = Field(default=None, min_length=1, max_length=256)
    """The environment variable that holds the password."""
    table: str = Field(pattern=r"^[^.]+(\.[^.]+)?$", max_length=256)
    """`table` or `schema.table`."""

    @property
    def label(self) -> str:
        """See `Sink`."""
        return f"{self.url} {self.table}"

    @contextmanager
    def opened(self, context: SinkContext) -> Iterator[Writer]:
        """See `Sink`."""
        from sqlalchemy import create_engine

        password = secret(self.password_env, f"writing to {self.label}") if self.password_env else None
        with self.says("connecting", password):
            engine = create_engine(url_with(self.url, context.folder, password), hide_parameters=True)
        try:
            yield _SqlWriter(self, engine, context.run, password)
        finally:
            engine.dispose()

    @contextmanager
    def says(self, doing: str, password: str | None) -> Iterator[None]:
        """Let errors of the database say what was being done, without the password."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, ImportError) as error:
            told = without(str(getattr(error, "orig", None) or error), password or "").strip()
            raise SinkError(
                f"writing to {self.label}: {doing}: {told}; mend the URL, the table or the rights"
            ) from error


class _SqlWriter(Writer):
    def __init__(self, sink: SqlSink, engine: "Engine", run: str, password: str | None) -> None:
        self._sink, self._engine, self._run, self._password = sink, engine, run, password
        self._schema, _, self._name = sink.table.rpartition(".")
        with self._sink.says("making the tables of notes", password):
            self._parts, self._runs = self._notes()
        self._table: Table | None = None

    def written(self) -> Mapping[int, WrittenPart]:
        """See `Writer`."""
        from sqlalchemy import select

        wanted = select(self._parts.c.note).where(self._parts.c.run == self._run)
        with self._sink.says("looking for what is written", self._password), self._engine.connect() as connection:
            found = [WrittenPart.model_validate_json(note) for note in connection.execute(wanted).scalars()]
        return {one.number: one for one in found}

    def write(self, part: int, table: "pa.Table | None") -> WrittenPart:
        """See `Writer`."""
        done = WrittenPart(number=part, rows=0 if table is None else len(table), sha256=content_sha256(table))
        with self._sink.says(f"part {part}", self._password):
            into = None if table is None else self._made(flat(table))
            with self._engine.begin() as connection:
                # The note first: where another process writes the same part, its key lets one of both go on.
                note = {"run": self._run, "part": part, "note": done.model_dump_json()}
                connection.execute(self._parts.insert(), note)
                if table is not None and into is not None:
                    for rows in self._rows(part, flat(table)):
                        connection.execute(into.insert(), rows)
        return done

    def finish(self, manifest: Manifest) -> None:
        """See `Writer`."""
        from sqlalchemy import select

        own = select(self._runs.c.run).where(self._runs.c.run == self._run)
        row = {"run": self._run, "name": manifest.name, "manifest": manifest.model_dump_json()}
        with self._sink.says("the manifest", self._password), self._engine.begin() as connection:
            if connection.execute(own).first() is None:
                connection.execute(self._runs.insert(), {**row, "finished_at": manifest.finished_at})

    def _rows(self, part: int, table: "pa.Table") -> Iterator[list[dict[str, Any]]]:
        extra = {RUN: self._run, PART: part}
        for start in range(0, len(table), _AT_ONCE):
            yield [{**row, **extra} for row in table.slice(start, _AT_ONCE).to_pylist()]

    def _notes(self) -> "tuple[Table, Table]":
        from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, Text

        metadata = MetaData(schema=self._schema or None)
        run = String(128)
        parts = Table(
            PARTS_TABLE,
            metadata,
            Column("run", run, primary_key=True),
            Column("part", Integer, primary_key=True, autoincrement=False),
            Column("note", Text, nullable=False),
        )
        runs = Table(
            RUNS_TABLE,
            metadata,
            Column("run", run, primary_key=True),
            Column("name", String(128), nullable=False),
            Column("manifest", Text, nullable=False),
            Column("finished_at", DateTime(timezone=True), nullable=False),
        )
        metadata.create_all(self._engine)
        return parts, runs

    def _made(self, rows: "pa.Table") -> "Table":
        """Return the table, made by the columns of the answers where it is missing."""
        from sqlalchemy import Column, Integer, MetaData, String, Table, inspect

        if self._table is not None:
            return self._table
        metadata, schema = MetaData(), self._schema or None
        if inspect(self._engine).has_table(self._name, schema):
            found = Table(self._name, metadata, schema=schema, autoload_with=self._engine)
            missing = [name for name in (*rows.column_names, RUN, PART) if name not in found.c]
            if missing:
                raise SinkError(
                    f"writing to {self._sink.label}: the table has no column {missing[0]}; add it, leave it out of "
                    "`keep`, or name another table"
                )
        else:
            columns: list[Column[Any]] = [Column(one.name, _type(one.type)) for one in rows.schema]
            columns.append(Column(RUN, String(128), nullable=False, index=True))
            columns.append(Column(PART, Integer, nullable=False))
            found = Table(self._name, metadata, *columns, schema=schema)
            found.create(self._engine)
        self._table = found
        return found


def _type(kind: "pa.DataType") -> Any:  # noqa: ANN401 - SQLAlchemy's, of many kinds
    import pyarrow as pa
    import sqlalchemy as sa

    types = pa.types
    if types.is_decimal(kind):
        return sa.Numeric(kind.precision, kind.scale)
    if types.is_timestamp(kind):
        return sa.DateTime(timezone=kind.tz is not None)
    made: dict[Any, Any] = {
        types.is_boolean: sa.Boolean,
        types.is_integer: sa.BigInteger,
        types.is_floating: sa.Double,
        types.is_date: sa.Date,
        types.is_binary: sa.LargeBinary,
        types.is_large_binary: sa.LargeBinary,
    }
    return next((of() for test, of in made.items() if test(kind)), sa.Text())
