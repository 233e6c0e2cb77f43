"""Tables of rows that come as mappings: lines of JSON, Avro, answers of an API, messages of a stream.

The types are those of the first rows; what does not fit them later is refused by its row.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from shoal_training.errors import DataError
from shoal_training.ingestion.bad_places import bad_places
from shoal_training.ingestion.schemas import difference
from shoal_training.ingestion.source import Reading

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[int, Mapping[str, Any]]
"""Its number in the source, from 1, and its values by column."""
MAX_TEXT_BYTES: Final = 8 << 20
"""Of the rows of a table, as they are written: as Python's values they take several times as much."""
MIN_FITTING_RATIO: Final = 0.5
"""Of the first rows of a file that must fit the types of those before; fewer, and it is another schema."""


@dataclass
class RecordTables:
    """Turns rows into tables of one schema.

    Attributes:
        source: The file, query or address, for errors.
        reading: What refused rows go to.
        schema: That all tables have; None: that of the first rows.
        declared: Types of columns by name, whatever the first rows hold.
        consumed: Says how many bytes have been read, where that is known.
    """

    source: str
    reading: Reading
    schema: "pa.Schema | None" = None
    declared: Mapping[str, "pa.DataType"] = field(default_factory=dict)
    consumed: Callable[[], int] = int

    def tables(self, rows: Iterable[Row]) -> Iterator["pa.Table"]:
        """Yield rows in tables, at most `reading.batch_rows` each.

        Raises:
            DataError: If strict, a row does not fit.
        """
        for batch in self.batches(rows):
            table = self.table(batch)
            if len(table):
                yield table

    def batches(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """Yield rows in lists: so many as a table holds, or fewer long ones."""
        held: list[Row] = []
        start = self.consumed()
        for row in rows:
            held.append(row)
            if len(held) >= self.reading.batch_rows or self.consumed() - start >= MAX_TEXT_BYTES:
                yield held
                held, start = [], self.consumed()
        if held:
            yield held

    def table(self, rows: Sequence[Row]) -> "pa.Table":
        """Return rows as a table, less those that are refused.

        Raises:
            DataError: As for `tables`.
        """
        import pyarrow as pa

        if self.schema is None:
            self.schema = inferred([values for _, values in rows], self.declared)
        try:
            return _converted(rows, self.schema)
        except _MISFITS:
            bad = dict(bad_places(rows, self._problem))
        for at, reason in bad.items():
            self.reading.refuse(self.source, rows[at][0], reason)
        kept = [row for at, row in enumerate(rows) if at not in bad]
        return _converted(kept, self.schema) if kept else pa.Table.from_pylist([], self.schema)

    def misfit(self, rows: Sequence[Row], *, needs_all: bool) -> str:
        """Say how the first rows of another file differ from the schema; empty: they are of it.

        Args:
            rows: Those first ones.
            needs_all: Whether a column that none of them has is a difference.
        """
        if self.schema is None:
            return ""
        found = inferred([values for _, values in rows], self.declared)
        new = [name for name in found.names if name not in self.schema.names]
        missing = [name for name in self.schema.names if name not in found.names and needs_all]
        misfits = [
            name for name in found.names if name in self.schema.names and not self._fits(rows, self.schema.field(name))
        ]
        import pyarrow as pa

        return difference(
            pa.schema([self.schema.field(name) for name in self.schema.names if name in {*missing, *misfits}]),
            pa.schema([found.field(name) for name in found.names if name in {*new, *misfits}]),
        )

    def _fits(self, rows: Sequence[Row], column: "pa.Field") -> bool:
        values = [values.get(column.name) for _, values in rows]
        bad = sum(1 for _ in bad_places(values, lambda some: value_problem(some, column.type)))
        return bad <= (1 - MIN_FITTING_RATIO) * len(values)

    def _problem(self, rows: Sequence[Row]) -> str:
        assert self.schema is not None  # noqa: S101 - set before anything is tried
        try:
            _converted(rows, self.schema)
        except _MISFITS:
            return row_problem(rows[0][1], self.schema) if len(rows) == 1 else "one of them"
        return ""


_MISFITS: Final = (DataError, TypeError, ValueError, OverflowError, ArithmeticError)
"""What pyarrow and Python raise for values that are of another type; Arrow's own are ValueErrors and TypeErrors."""


def row_problem(values: Mapping[str, Any], schema: "pa.Schema") -> str:
    """Say which of a row's values do not fit, and what is expected."""
    told = [f"column {name} is new" for name in values if name not in schema.names]
    told += [
        f"column {one.name}: {str(values[one.name])[:80]!r} found, {one.type} expected"
        for one in schema
        if value_problem([values.get(one.name)], one.type)
    ]
    return f"{'; '.join(told)}; mend the row, or declare the column's type" if told else ""


def value_problem(values: Sequence[Any], kind: "pa.DataType") -> str:
    """Say what is wrong with some values together; empty: all are of the type."""
    try:
        _array(values, kind)
    except _MISFITS as error:
        return str(error) or type(error).__name__
    return ""


def inferred(rows: Sequence[Mapping[str, Any]], declared: Mapping[str, "pa.DataType"]) -> "pa.Schema":
    """Return the columns of rows, in the order in which they occur, with types that hold most of their values.

    Args:
        rows: The first ones.
        declared: Types by name that stand, whatever the rows hold.
    """
    import pyarrow as pa

    names = dict.fromkeys([*(name for row in rows for name in row), *declared])
    types = {name: declared.get(name) or _in_utc(_type_of([row.get(name) for row in rows])) for name in names}
    return pa.schema(list(types.items()))


def _in_utc(kind: "pa.DataType") -> "pa.DataType":
    """Return a type of times as that in UTC: the zone of whoever is asked is no property of the data."""
    import pyarrow as pa

    return pa.timestamp(kind.unit, "UTC") if pa.types.is_timestamp(kind) and kind.tz else kind


def _type_of(values: Sequence[Any]) -> "pa.DataType":
    """Return the type of the values; where they do not agree, that of the commonest kind of them."""
    import pyarrow as pa

    plain = {Decimal: float, UUID: str}
    values = [plain.get(type(one), lambda value: value)(one) for one in values]
    try:
        return pa.infer_type(values)
    except _MISFITS:
        kinds = Counter(type(one) for one in values if one is not None)
    [(commonest, _)] = kinds.most_common(1)
    number = {int, float}
    alike = number if commonest in number else {commonest}
    try:
        return pa.infer_type([one for one in values if type(one) in alike])
    except _MISFITS:  # lists or mappings that do not agree within
        return pa.infer_type([one for one in values if type(one) in alike][:1])


def _converted(rows: Sequence[Row], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    known = set(schema.names)
    if any(not known.issuperset(values) for _, values in rows):
        raise DataError("a column is new")
    return pa.table([_array([values.get(one.name) for _, values in rows], one.type) for one in schema], schema=schema)


def _array(values: Sequence[Any], kind: "pa.DataType") -> "pa.Array":
    """Return values as an array; by itself Arrow makes no whole number a fraction, and no text a time."""
    import pyarrow as pa

    if pa.types.is_floating(kind):
        values = [float(one) if isinstance(one, int | Decimal) and not isinstance(one, bool) else one for one in values]
    elif pa.types.is_string(kind):
        values = [str(one) if isinstance(one, UUID) else one for one in values]
    elif pa.types.is_temporal(kind):
        if any(isinstance(one, int | float) for one in values):
            raise DataError("a number is no time")  # since when, and in which unit, it does not say
        if any(isinstance(one, str) for one in values):
            texts = [str(one) if one is not None else None for one in values]  # as ISO 8601 has it
            return pa.array(texts, pa.string()).cast(kind)
    return pa.array(values, kind)
