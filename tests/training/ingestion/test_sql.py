"""SQL databases: SQLite as a file, and a real PostgreSQL with a password."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from pydantic import ValidationError
from tests.hub.postgres_cluster import USER, PostgresCluster

from shoal_training.errors import DataError
from shoal_training.ingestion.source import Reading
from shoal_training.ingestion.sql import SqlSource

PASSWORD = "correct horse"


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """A folder with a database of 1,000 readings; the note of the first 100 is empty."""
    with sqlite3.connect(tmp_path / "plant.db") as database:
        database.execute("CREATE TABLE readings (id INTEGER PRIMARY KEY, value REAL, note TEXT)")
        rows = [(at, at / 2, None if at < 100 else f"n{at}") for at in range(1_000)]
        database.executemany("INSERT INTO readings VALUES (?, ?, ?)", rows)
    return tmp_path


def read(folder: Path, **fields: Any) -> tuple[pa.Table, Reading]:
    reading = Reading(folder, **{name: fields.pop(name) for name in list(fields) if hasattr(Reading, name)})
    return pa.concat_tables(SqlSource(**fields).tables(reading)), reading


@pytest.mark.parametrize("query", ["VACUUM INTO '{0}/copy.db'", "ATTACH '{0}/copy.db' AS other"])
def test_a_query_of_sqlite_reaches_no_other_file(plant: Path, query: str) -> None:
    with pytest.raises(DataError, match="not authorized|authorization denied"):
        read(plant, url="sqlite:///plant.db", query=query.format(plant))
    assert not (plant / "copy.db").exists()


def test_a_table_of_sqlite_is_read_in_batches_in_the_order_of_its_key(plant: Path) -> None:
    source = SqlSource(url="sqlite:///plant.db", table="readings")
    tables = list(source.tables(Reading(plant, batch_rows=64)))
    assert max(map(len, tables)) == 64
    found = pa.concat_tables(tables)
    assert found["id"].to_pylist() == list(range(1_000))
    assert (found["note"].type, found["note"].null_count) == (pa.string(), 100)


def test_a_query_gives_its_columns_and_colons_are_no_parameters(plant: Path) -> None:
    query = "SELECT id, 'a:b' AS text, value AS half FROM readings WHERE id < 3 ORDER BY id DESC;"
    found, _ = read(plant, url="sqlite:///plant.db", query=query)
    assert found.to_pylist()[0] == {"id": 2, "text": "a:b", "half": 1.0}


def test_a_value_of_another_type_is_refused_by_its_row(plant: Path) -> None:
    with sqlite3.connect(plant / "plant.db") as database:
        database.execute("UPDATE readings SET value = 'broken' WHERE id = 500")
    fields = {"url": "sqlite:///plant.db", "table": "readings"}
    with pytest.raises(DataError, match="readings, row 501: column value: 'broken' found, double expected"):
        read(plant, **fields)
    found, reading = read(plant, **fields, is_strict=False)
    assert (len(found), reading.refused_count) == (999, 1)


def test_a_database_is_never_written(plant: Path) -> None:
    with pytest.raises(DataError, match="readonly"):
        read(plant, url="sqlite:///plant.db", query="DELETE FROM readings RETURNING id")
    with pytest.raises(DataError, match="other.db is no file"):
        read(plant, url="sqlite:///other.db", table="readings")
    assert not (plant / "other.db").exists()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"table": "nothing"}, "nothing"),
        ({"query": "SELECT 1 AS a, 2 AS a"}, "a more than once"),
        ({"query": "SELEC 1"}, "syntax error"),
    ],
)
def test_what_a_database_refuses_is_told(plant: Path, fields: dict[str, str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(plant, url="sqlite:///plant.db", **fields)


def test_a_password_has_no_place_in_the_file() -> None:
    for url in (f"postgresql://ada:{PASSWORD}@db/plant", f"postgresql://db/plant?password={PASSWORD}"):
        with pytest.raises(ValidationError, match="password_env") as raised:
            SqlSource(url=url, table="readings")
        assert PASSWORD not in raised.value.errors(include_input=False)[0]["msg"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    cluster = PostgresCluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def database(cluster: PostgresCluster) -> Iterator[str]:
    """The URL of a database whose user `reader` needs a password."""
    name = cluster.create()
    own = cluster.folder / "data" / "pg_hba.conf"
    before = own.read_text()
    own.write_text(f"local all reader scram-sha-256\n{before}")
    with psycopg.connect(host=str(cluster.folder), user=USER, dbname=name, autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("CREATE TABLE readings (id int PRIMARY KEY, at timestamptz, value numeric, late text)")
        connection.execute(
            "INSERT INTO readings SELECT n, '2026-01-01Z'::timestamptz + n * interval '1 s', n / 4.0, "
            "CASE WHEN n > 1500 THEN 'late' END FROM generate_series(1, 2000) n"
        )
        connection.execute("CREATE SEQUENCE numbers; GRANT ALL ON readings, numbers TO reader")
        yield f"postgresql://reader@/{name}?host={cluster.folder}"
        connection.execute("DROP OWNED BY reader; DROP ROLE reader")
    own.write_text(before)


@pytest.mark.postgres
def test_postgresql_is_read_in_batches_with_the_password_of_the_environment(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANT_PASSWORD", PASSWORD)
    source = SqlSource(url=database, password_env="PLANT_PASSWORD", table="public.readings")
    tables = list(source.tables(Reading(tmp_path, batch_rows=300)))
    assert [len(one) for one in tables] == [300] * 6 + [200]
    found = pa.concat_tables(tables)
    assert [str(one.type) for one in found.schema] == ["int64", "timestamp[us, tz=UTC]", "double", "string"]
    assert found["value"].to_pylist()[:2] == [0.25, 0.5]
    assert found["late"].null_count == 1_500  # empty in the first batches: a later value says its type
    assert PASSWORD not in json.dumps(source.described())
    query = "SELECT id FROM readings WHERE at >= '2026-01-01 00:00:01Z'::timestamptz ORDER BY id"
    found, _ = read(tmp_path, url=database, password_env="PLANT_PASSWORD", query=query)
    assert len(found) == 2_000


@pytest.mark.postgres
def test_postgresql_is_never_written_and_a_wrong_password_is_not_told(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANT_PASSWORD", PASSWORD)
    with pytest.raises(DataError, match="read-only transaction"):
        read(tmp_path, url=database, password_env="PLANT_PASSWORD", query="SELECT nextval('numbers') AS n")
    monkeypatch.setenv("PLANT_PASSWORD", "wrong battery")
    with pytest.raises(DataError, match="password authentication failed") as raised:
        read(tmp_path, url=database, password_env="PLANT_PASSWORD", table="readings")
    assert "wrong battery" not in str(raised.value)
    monkeypatch.delenv("PLANT_PASSWORD")
    with pytest.raises(DataError, match="environment variable PLANT_PASSWORD is not set"):
        read(tmp_path, url=database, password_env="PLANT_PASSWORD", table="readings")


@pytest.mark.postgres
def test_types_of_postgresql_become_columns(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANT_PASSWORD", PASSWORD)
    query = (
        "SELECT '00000000-0000-0000-0000-000000000007'::uuid AS u, interval '1 day' AS i, ARRAY[1, 2] AS a, "
        """'{"x": 1}'::jsonb AS j, true AS b, 1.5::numeric AS n, '\\x00ff'::bytea AS y, date '2026-01-31' AS d"""
    )
    found, _ = read(tmp_path, url=database, password_env="PLANT_PASSWORD", query=query)
    [row] = found.to_pylist()
    assert (row["u"], row["a"], row["j"]) == ("00000000-0000-0000-0000-000000000007", [1, 2], {"x": 1})
    assert (row["b"], row["n"], row["y"], row["i"].days) == (True, 1.5, b"\x00\xff", 1)
    assert found["d"].type == pa.date32()
