"""Avro's types as Arrow's, by the specification of Avro 1.12: primitive, complex and logical ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shoal_training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def avro_schema(schema: Any) -> "pa.Schema":  # noqa: ANN401 - what JSON has
    """Return the columns of records of an Avro schema.

    Raises:
        ValueError: It is no record's.
        DataError: A column's type has no counterpart.
    """
    import pyarrow as pa

    if not isinstance(schema, Mapping) or schema.get("type") not in {"record", "error"}:
        raise ValueError("its rows are no records")
    named: dict[str, pa.DataType] = {}
    return pa.schema([(one["name"], _type(one["type"], named, one["name"])) for one in schema["fields"]])


def _type(kind: Any, named: "dict[str, pa.DataType]", column: str) -> "pa.DataType":  # noqa: ANN401 - what JSON has
    if isinstance(kind, list):
        others = [one for one in kind if one != "null"]
        if len(others) > 1:
            raise DataError(f"column {column}: a union of {others} has no one type; write one of them")
        return _type(others[0] if others else "null", named, column)
    if isinstance(kind, str):
        found = _primitive(kind) or named.get(kind) or named.get(kind.rsplit(".", 1)[-1])
        if found is None:
            raise DataError(f"column {column}: the type {kind} is not known, or holds itself; write plain columns")
        return found
    made = _logical(kind) or _complex(kind, named, column)
    if "name" in kind:
        named[kind["name"].rsplit(".", 1)[-1]] = made
    return made


def _primitive(kind: str) -> "pa.DataType | None":
    import pyarrow as pa

    return {
        "null": pa.null(),
        "boolean": pa.bool_(),
        "int": pa.int32(),
        "long": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "bytes": pa.binary(),
        "string": pa.string(),
    }.get(kind)


def _logical(kind: Mapping[str, Any]) -> "pa.DataType | None":
    import pyarrow as pa

    logical = kind.get("logicalType")
    if logical == "decimal":
        make = pa.decimal128 if kind["precision"] <= 38 else pa.decimal256  # noqa: PLR2004 - digits of 128 bits
        return make(kind["precision"], kind.get("scale", 0))
    return {
        "date": pa.date32(),
        "time-millis": pa.time32("ms"),
        "time-micros": pa.time64("us"),
        "timestamp-millis": pa.timestamp("ms", "UTC"),
        "timestamp-micros": pa.timestamp("us", "UTC"),
        "local-timestamp-millis": pa.timestamp("ms"),
        "local-timestamp-micros": pa.timestamp("us"),
        "uuid": pa.string(),
    }.get(str(logical))


def _complex(kind: Mapping[str, Any], named: "dict[str, pa.DataType]", column: str) -> "pa.DataType":
    import pyarrow as pa

    match kind["type"]:
        case "record" | "error":
            return pa.struct([(one["name"], _type(one["type"], named, column)) for one in kind["fields"]])
        case "array":
            return pa.list_(_type(kind["items"], named, column))
        case "map":
            return pa.map_(pa.string(), _type(kind["values"], named, column))
        case "enum":
            return pa.string()
        case "fixed":
            return pa.binary(kind["size"])
        case inner:
            return _type(inner, named, column)
