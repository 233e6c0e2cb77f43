"""Folders that are named `column=value`, as Hive and Spark write them, as columns of the rows below them."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from shoal_training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

NOTHING: Final = "__HIVE_DEFAULT_PARTITION__"
"""The folder of rows that have no value."""


def partition_values(path: str, root: str) -> dict[str, str | None]:
    """Return the values that the folders between a root and a file name, by column."""
    folders = PurePosixPath(path.removeprefix(root)).parent.parts
    pairs = [part.split("=", 1) for part in folders if "=" in part and not part.startswith("=")]
    return {unquote(name): None if value == NOTHING else unquote(value) for name, value in pairs}


def partition_schema(values: Sequence[Mapping[str, str | None]], declared: Mapping[str, "pa.DataType"]) -> "pa.Schema":
    """Return the columns that folders name: whole numbers where all are, text otherwise.

    Args:
        values: Of each file, as `partition_values` gives them.
        declared: Types by name that stand.

    Raises:
        DataError: Some files lie in folders of other columns.
    """
    import pyarrow as pa

    names = tuple(values[0]) if values else ()
    for one in values:
        if tuple(one) != names:
            raise DataError(
                f"its folders name the columns {', '.join(one) or 'none'}, those of the others "
                f"{', '.join(names) or 'none'}; give all files folders of the same columns"
            )
    return pa.schema([(name, declared.get(name) or _type_of([one[name] for one in values])) for name in names])


def with_partition(table: "pa.Table", values: Mapping[str, str | None], schema: "pa.Schema") -> "pa.Table":
    """Return a table with the columns that its file's folders name.

    Raises:
        DataError: It has one of them itself, or a value is not of the declared type.
    """
    import pyarrow as pa

    for one in schema:
        if one.name in table.column_names:
            raise DataError(f"it has the column {one.name}, which its folders name as well; rename one of them")
        try:
            value = pa.array([values[one.name]], pa.string()).cast(one.type)[0]
        except pa.ArrowException as error:
            raise DataError(f"its folder names {one.name}={values[one.name]}, {one.type} expected") from error
        table = table.append_column(one, pa.repeat(value, len(table)))
    return table


def _type_of(values: Sequence[str | None]) -> "pa.DataType":
    import pyarrow as pa

    try:
        pa.array(values, pa.string()).cast(pa.int64())
    except pa.ArrowException:
        return pa.string()
    return pa.int64() if any(one is not None for one in values) else pa.string()
