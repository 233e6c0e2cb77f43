"""Columns of tables: in what they differ, what holds all of several, and how a table gets other ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shoal_training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def plain(schema: "pa.Schema") -> "pa.Schema":
    """Return a schema without what does not change values: metadata, dictionaries, marks of columns without nulls."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(one.name, one.type.value_type if pa.types.is_dictionary(one.type) else one.type)
            for one in schema.remove_metadata()
        ]
    )


def difference(before: "pa.Schema", found: "pa.Schema") -> str:
    """Say in which columns schemas differ, whatever their order; empty: in none."""
    told = []
    for name in sorted({*before.names, *found.names}):
        if name not in found.names:
            told.append(f"{name} is missing")
        elif name not in before.names:
            told.append(f"{name} is new")
        elif before.field(name).type != found.field(name).type:
            told.append(f"{name} is {found.field(name).type} instead of {before.field(name).type}")
    return ", ".join(told)


def doubled(names: Sequence[str]) -> str:
    """Say which names occur more than once; empty: none."""
    return ", ".join(sorted({name for name in names if names.count(name) > 1}))


def widened(first: "pa.Schema", second: "pa.Schema") -> "pa.Schema":
    """Return the schema that holds the rows of both: all columns, whole numbers as fractions where one has those.

    Raises:
        DataError: A column has types of which neither holds the other; it says which.
    """
    import pyarrow as pa

    try:
        return pa.unify_schemas([first, second], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        told = difference(
            *(
                pa.schema([one for one in both if one.name in first.names and one.name in second.names])
                for both in (first, second)
            )
        )
        raise DataError(f"{told}, and no type holds both; cast one of them first") from error


def conform(table: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """Return a table with the columns of a schema, in its order; missing ones are null.

    Raises:
        DataError: A value does not fit the schema's type.
    """
    import pyarrow as pa

    if table.schema.equals(schema):
        return table.replace_schema_metadata()
    columns = []
    for one in schema:
        if one.name not in table.column_names:
            columns.append(pa.nulls(len(table), one.type))
            continue
        try:
            columns.append(table[one.name].cast(one.type))
        except pa.ArrowException as error:
            raise DataError(f"column {one.name}: {error}; {one.type} expected") from error
    return pa.table(columns, schema=schema)
