"""Avro's types as columns: logical ones, nested ones, and those that are no column."""

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from shoal_training.errors import DataError
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.source import Reading

AT = dt.datetime(2026, 1, 31, 10, 0, 0, 250_000, tzinfo=dt.timezone.utc)


def write(folder: Path, fields: list[dict[str, Any]], *rows: dict[str, Any]) -> Path:
    path = folder / "a.avro"
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema({"type": "record", "name": "row", "fields": fields}), rows)
    return path


def read(path: Path) -> pa.Table:
    return pa.concat_tables(FileSource(path=path.name).tables(Reading(path.parent)))


@pytest.mark.parametrize(
    ("kind", "value", "column"),
    [
        (["null", "int"], None, pa.int32()),
        ("float", 0.5, pa.float32()),
        ("bytes", b"\x00\xff", pa.binary()),
        ({"type": "enum", "name": "colour", "symbols": ["red", "blue"]}, "blue", pa.string()),
        ({"type": "fixed", "name": "pair", "size": 2}, b"ab", pa.binary(2)),
        ({"type": "array", "items": "double"}, [1.5, 2.5], pa.list_(pa.float64())),
        ({"type": "map", "values": "long"}, [("a", 1)], pa.map_(pa.string(), pa.int64())),
        ({"type": "int", "logicalType": "date"}, AT.date(), pa.date32()),
        ({"type": "long", "logicalType": "timestamp-millis"}, AT, pa.timestamp("ms", "UTC")),
        (["null", {"type": "long", "logicalType": "timestamp-micros"}], AT, pa.timestamp("us", "UTC")),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2},
            Decimal("12.34"),
            pa.decimal128(6, 2),
        ),
        ({"type": "string", "logicalType": "uuid"}, str(uuid.UUID(int=7)), pa.string()),
        (
            {"type": "record", "name": "inner", "fields": [{"name": "x", "type": "long"}]},
            {"x": 1},
            pa.struct([("x", pa.int64())]),
        ),
    ],
)
def test_a_type_of_avro_becomes_the_column_that_holds_it(
    tmp_path: Path, kind: Any, value: Any, column: pa.DataType
) -> None:
    written = dict(value) if isinstance(kind, dict) and kind["type"] == "map" else value
    found = read(write(tmp_path, [{"name": "v", "type": kind}], {"v": written}))
    assert found["v"].type == column
    assert found["v"].to_pylist() == [value]


def test_a_named_type_is_known_where_it_is_named_again(tmp_path: Path) -> None:
    kind = {"type": "enum", "name": "colour", "symbols": ["red", "blue"]}
    found = read(
        write(tmp_path, [{"name": "a", "type": kind}, {"name": "b", "type": "colour"}], {"a": "red", "b": "blue"})
    )
    assert found.to_pylist() == [{"a": "red", "b": "blue"}]


def test_a_column_of_several_types_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path, [{"name": "v", "type": ["int", "string"]}], {"v": 1})
    with pytest.raises(DataError, match="a.avro: column v: a union of .* has no one type"):
        read(path)


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.avro").write_bytes(b"Obj\x01 and nothing that follows")
    with pytest.raises(DataError, match="a.avro: .*it is no Avro file"):
        read(tmp_path / "a.avro")
