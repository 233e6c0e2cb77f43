"""Sinks that keep: files here and in a store, SQL databases, DuckDB."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import create_engine, text
from tests.checks.inference_sink import InferenceSinkChecks, table
from tests.hub.postgres_cluster import PostgresCluster

from shoal_training.batch_inference.manifest import Manifest
from shoal_training.batch_inference.sinks.duckdb_sink import DuckDbSink
from shoal_training.batch_inference.sinks.files import FileSink
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext
from shoal_training.batch_inference.sinks.sql import SqlSink
from shoal_training.errors import SinkError
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.source import Reading


class _Files(InferenceSinkChecks):
    """Of any form; rows are read as a source reads them."""

    form = "parquet"

    @pytest.fixture
    def sink(self) -> Sink:
        return FileSink(path="out", format=self.form)

    def rows(self, sink: Sink, context: SinkContext) -> list[dict[str, Any]]:
        assert isinstance(sink, FileSink)
        found = FileSource(path=sink.path).tables(Reading(context.folder))
        return [row for one in found for row in one.to_pylist()]

    def manifests(self, sink: Sink, context: SinkContext) -> list[Manifest]:  # noqa: ARG002 - it is in the folder
        found = (context.folder / "out/_shoal").glob("*.json")
        return [Manifest.model_validate_json(path.read_bytes()) for path in found]


class TestParquet(_Files):
    """See `_Files`."""


class TestCsv(_Files):
    """See `_Files`."""

    form = "csv"


class TestJsonLines(_Files):
    """See `_Files`."""

    form = "jsonl"


class TestStore(_Files):
    """A store by URL, as fsspec has one in memory: without folders and without renaming."""

    @pytest.fixture
    def sink(self, tmp_path: Path) -> Iterator[Sink]:
        path = f"memory://lake{tmp_path}/out"
        yield FileSink(path=path)
        fsspec.filesystem("memory").rm(f"/lake{tmp_path}", recursive=True)

    def manifests(self, sink: Sink, context: SinkContext) -> list[Manifest]:  # noqa: ARG002 - it is in the store
        assert isinstance(sink, FileSink)
        store = fsspec.filesystem("memory")
        found = store.glob(sink.path.removeprefix("memory:/") + "/_shoal/*.json")
        return [Manifest.model_validate_json(store.cat_file(path)) for path in found]


class Plain(MemoryFileSystem):
    """Stands for SFTP and the like: a file is there from its first byte, and none is renamed over another."""

    protocol = "plain"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    breaks_at = 0
    """The write that breaks off, from 1; 0: none does."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.removeprefix("plain:/")))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        Plain.breaks_at -= 1
        if Plain.breaks_at == 0:
            super().pipe_file(path, value[: len(value) // 2], mode, **more)
            raise OSError("the connection was lost")
        super().pipe_file(path, value, mode, **more)

    def mv(self, path1: str, path2: str, **more: Any) -> None:
        if self.exists(path2):
            raise FileExistsError(path2)
        super().mv(path1, path2, **more)


class TestPlainFiles(_Files):
    """A file system that is no object store: what is written there is renamed once it is whole."""

    @pytest.fixture(autouse=True)
    def _known(self) -> Iterator[None]:
        fsspec.register_implementation("plain", Plain, clobber=True)
        yield
        Plain.store.clear()
        Plain.pseudo_dirs[:] = [""]

    @pytest.fixture
    def sink(self) -> Sink:
        return FileSink(path="plain://lake/out")

    def manifests(self, sink: Sink, context: SinkContext) -> list[Manifest]:  # noqa: ARG002 - it is there
        store = fsspec.filesystem("plain")
        return [Manifest.model_validate_json(store.cat_file(path)) for path in store.glob("/lake/out/_shoal/*.json")]

    def test_what_breaks_off_is_never_seen_and_is_written_again(self, sink: Sink, context: SinkContext) -> None:
        with sink.opened(context) as writer:
            for at, name in enumerate(("part-000001-run-1.parquet", "_shoal/run-1/000001.json"), 1):
                Plain.breaks_at = at
                with pytest.raises(SinkError, match="the connection was lost"):
                    writer.write(1, table(1))
                assert not fsspec.filesystem("plain").exists(f"/lake/out/{name}")
                assert writer.written() == {}
            done = writer.write(1, table(1))
            assert writer.written() == {1: done}
        assert len(self.rows(sink, context)) == 3

    def test_half_a_manifest_is_written_again(self, sink: Sink, context: SinkContext) -> None:
        fsspec.filesystem("plain").pipe_file("/lake/out/_shoal/run-1.json", b'{"run": "run-1", "na')
        self.test_a_manifest_is_written_once(sink, context)


class TestSqlite(InferenceSinkChecks):
    """A SQL database; rows, notes and manifests in tables."""

    @pytest.fixture
    def sink(self) -> Sink:
        return SqlSink(url="sqlite:///out.db", table="scores")

    def rows(self, sink: Sink, context: SinkContext) -> list[dict[str, Any]]:
        return self._asked(sink, context, "SELECT * FROM scores")

    def manifests(self, sink: Sink, context: SinkContext) -> list[Manifest]:
        found = self._asked(sink, context, "SELECT manifest FROM shoal_inference_runs")
        return [Manifest.model_validate_json(one["manifest"]) for one in found]

    def _asked(self, sink: Sink, context: SinkContext, query: str) -> list[dict[str, Any]]:
        assert isinstance(sink, SqlSink)
        engine = create_engine(self.url(sink, context))
        with engine.connect() as connection:
            found = [dict(one) for one in connection.execute(text(query)).mappings()]
        engine.dispose()
        return found

    def url(self, _sink: SqlSink, context: SinkContext) -> str:
        return f"sqlite:///{context.folder}/out.db"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresCluster]:
    cluster = PostgresCluster()
    yield cluster
    cluster.stop()


@pytest.mark.postgres
class TestPostgres(TestSqlite):
    """See `TestSqlite`."""

    @pytest.fixture
    def sink(self, postgres: PostgresCluster) -> Sink:
        return SqlSink(url=postgres.url(postgres.create()), table="public.scores")

    def url(self, sink: SqlSink, _context: SinkContext) -> str:
        return sink.url.replace("postgresql:", "postgresql+psycopg:")


class TestDuckDb(InferenceSinkChecks):
    """A file of DuckDB."""

    @pytest.fixture
    def sink(self) -> Sink:
        return DuckDbSink(database="out.duckdb", table="scores")

    def rows(self, sink: Sink, context: SinkContext) -> list[dict[str, Any]]:  # noqa: ARG002 - it is in the folder
        return self._asked(context, "FROM scores")

    def manifests(self, sink: Sink, context: SinkContext) -> list[Manifest]:  # noqa: ARG002 - likewise
        found = self._asked(context, "FROM shoal_inference_runs")
        return [Manifest.model_validate_json(one["manifest"]) for one in found]

    def _asked(self, context: SinkContext, query: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(context.folder / "out.duckdb")) as connection:
            found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
        return found


@pytest.fixture
def context(tmp_path: Path) -> SinkContext:
    return SinkContext("run-1", tmp_path, tmp_path)


def test_a_part_lies_in_a_folder_for_each_value_and_is_read_as_it_was(context: SinkContext) -> None:
    rows = table(1).set_column(2, "label", pa.array(["a/b", None, "c=d"]))
    with FileSink(path="out/{run}", partition_by=("label",)).opened(context) as writer:
        writer.write(1, rows)
    folders = sorted(path.name for path in (context.folder / "out/run-1").iterdir() if path.name != "_shoal")
    assert folders == ["label=__HIVE_DEFAULT_PARTITION__", "label=a%2Fb", "label=c%3Dd"]
    found = [row for one in FileSource(path="out").tables(Reading(context.folder)) for row in one.to_pylist()]
    assert {(row["id"], row["label"]) for row in found} == {(10, "a/b"), (11, None), (12, "c=d")}


def test_what_can_not_be_partitioned_or_inserted_is_told_and_nothing_of_the_part_is_left(context: SinkContext) -> None:
    with (
        FileSink(path="out", partition_by=("id",), max_folders=2).opened(context) as writer,
        pytest.raises(SinkError, match="part 1 to out: its rows lie in 3 folders, at most 2 allowed"),
    ):
        writer.write(1, table(1))
    for sink in (
        SqlSink(url="sqlite:///out.db", table="scores"),
        DuckDbSink(database="out.duckdb", table="scores"),
    ):
        with sink.opened(context) as writer:
            writer.write(1, table(1).select(["id"]))
        with sink.opened(context) as writer:
            with pytest.raises(SinkError, match="scores"):
                writer.write(2, table(2))  # the table has no such columns
            assert sorted(writer.written()) == [1]


def test_a_file_that_is_gone_is_written_again(context: SinkContext) -> None:
    sink = FileSink(path="out")
    with sink.opened(context) as writer:
        [file] = writer.write(1, table(1)).files
        (context.folder / "out" / file.path).unlink()
        assert writer.written() == {}


def test_a_database_or_a_folder_that_may_not_be_written_is_told_without_the_password(
    context: SinkContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "hush")
    unreachable = SqlSink(url="postgresql://u@127.0.0.1:1/d", password_env="DB_PASSWORD", table="t")
    with pytest.raises(SinkError, match="postgresql://u@127.0.0.1:1/d t: ") as told, unreachable.opened(context):
        pass
    assert "hush" not in str(told.value)
    (context.folder / "out").write_text("a file")
    with (
        FileSink(path="out").opened(context) as writer,
        pytest.raises(SinkError, match="part-000001-run-1.parquet below out"),
    ):
        writer.write(1, table(1))
    assert json.loads(json.dumps(unreachable.described()))["password_env"] == "DB_PASSWORD"
    assert os.environ["DB_PASSWORD"] == "hush"


def test_parquet_keeps_types(context: SinkContext) -> None:
    with FileSink(path="out").opened(context) as writer:
        [file] = writer.write(1, table(1)).files
    assert pq.read_schema(context.folder / "out" / file.path).equals(table(1).schema)
