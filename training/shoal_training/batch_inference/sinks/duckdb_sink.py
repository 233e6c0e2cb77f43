"""Answers in a table of DuckDB: a file, or a database of MotherDuck; a part's rows and its note in one transaction.

Notes and manifests stand in `shoal_inference_parts` and `shoal_inference_runs` beside the table, as in SQL databases.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from shoal_training.batch_inference.manifest import Manifest, WrittenPart
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext, Writer, content_sha256
from shoal_training.batch_inference.sinks.sql import PART, PARTS_TABLE, RUN, RUNS_TABLE
from shoal_training.errors import SinkError

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


class DuckDbSink(Sink):
    """A table, which is made where it is missing; lists stay lists."""

    kind: ClassVar[str] = "duckdb"
    is_exactly_once: ClassVar[bool] = True

    database: str = Field(min_length=1, max_length=4096)
    """A file, relative to the batch inference's, or `md:name` of MotherDuck, which takes `motherduck_token` from the
    environment. While a run writes, no other process can open the file."""
    table: str = Field(pattern=r"^[^.]+(\.[^.]+)?$", max_length=256)
    """`table` or `schema.table`."""

    @property
    def label(self) -> str:
        """See `Sink`."""
        return f"{self.database} {self.table}"

    @contextmanager
    def opened(self, context: SinkContext) -> Iterator[Writer]:
        """See `Sink`."""
        import duckdb

        path = self.database if ":" in self.database else str(context.folder.absolute() / self.database)
        with self.says("opening it"):
            connection = duckdb.connect(path)
        try:
            yield _DuckDbWriter(self, connection, context.run)
        finally:
            connection.close()

    @contextmanager
    def says(self, doing: str) -> Iterator[None]:
        """Let errors of the database say what was being done."""
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise SinkError(
                f"writing to {self.label}: {doing}: {error}; mend the name, the table or the rights"
            ) from error


class _DuckDbWriter(Writer):
    def __init__(self, sink: DuckDbSink, connection: "DuckDBPyConnection", run: str) -> None:
        self._sink, self._connection, self._run = sink, connection, run
        schema, _, name = sink.table.rpartition(".")
        before = f"{_quoted(schema)}." if schema else ""
        self._table, self._parts, self._runs = (before + _quoted(one) for one in (name, PARTS_TABLE, RUNS_TABLE))
        with sink.says("making the tables of notes"):
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._parts} (run VARCHAR, part INTEGER, note VARCHAR, "
                "PRIMARY KEY (run, part))"
            )
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._runs} (run VARCHAR PRIMARY KEY, name VARCHAR, manifest VARCHAR, "
                "finished_at TIMESTAMPTZ)"
            )

    def written(self) -> Mapping[int, WrittenPart]:
        """See `Writer`."""
        with self._sink.says("looking for what is written"):
            wanted = f"SELECT note FROM {self._parts} WHERE run = ?"  # noqa: S608 - names are quoted
            rows = self._connection.execute(wanted, [self._run]).fetchall()
        found = [WrittenPart.model_validate_json(note) for (note,) in rows]
        return {one.number: one for one in found}

    def write(self, part: int, table: "pa.Table | None") -> WrittenPart:
        """See `Writer`."""
        done = WrittenPart(number=part, rows=0 if table is None else len(table), sha256=content_sha256(table))
        with self._sink.says(f"part {part}"), self._transaction():
            note = [self._run, part, done.model_dump_json()]
            self._connection.execute(f"INSERT INTO {self._parts} VALUES (?, ?, ?)", note)  # noqa: S608 - likewise
            if table is not None:
                self._insert(part, table)
        return done

    def finish(self, manifest: Manifest) -> None:
        """See `Writer`."""
        row = [self._run, manifest.name, manifest.model_dump_json(), manifest.finished_at]
        with self._sink.says("the manifest"):
            added = f"INSERT OR IGNORE INTO {self._runs} VALUES (?, ?, ?, ?)"  # noqa: S608 - likewise
            self._connection.execute(added, row)

    def _insert(self, part: int, table: "pa.Table") -> None:
        import pyarrow as pa

        rows = table.append_column(RUN, pa.repeat(self._run, len(table)))
        rows = rows.append_column(PART, pa.repeat(pa.scalar(part, pa.int32()), len(table)))
        self._connection.register("shoal_rows", rows)
        try:
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} AS FROM shoal_rows LIMIT 0")
            added = f"INSERT INTO {self._table} BY NAME SELECT * FROM shoal_rows"  # noqa: S608 - likewise
            self._connection.execute(added)
        finally:
            self._connection.unregister("shoal_rows")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.begin()
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
