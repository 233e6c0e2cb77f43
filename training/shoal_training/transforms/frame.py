"""Columns of a table as a transformation sees them: numbers, texts and times, by name and in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array

if TYPE_CHECKING:
    import pyarrow as pa

ColumnKind = Literal["number", "text", "time"]
DTYPES: Final[dict[ColumnKind, np.dtype[np.generic]]] = {
    "number": np.dtype(np.float32),
    "text": np.dtype(np.object_),
    "time": np.dtype(np.float64),
}
"""NaN is a missing number or time, the empty text a missing one. Times are seconds since 1970 in UTC."""


@dataclass(frozen=True)
class Frame:
    """Columns by name, each (rows,) of its kind's type in `DTYPES`."""

    columns: dict[str, Array]

    def kind_of(self, name: str) -> ColumnKind:
        """Return what a column holds."""
        kinds: dict[str, ColumnKind] = {"f4": "number", "O8": "text", "f8": "time"}
        return kinds[self.columns[name].dtype.str[1:] if self.columns[name].dtype.kind != "O" else "O8"]

    def named(self, kinds: frozenset[ColumnKind]) -> tuple[str, ...]:
        """Return the names of all columns of these kinds, in order."""
        return tuple(name for name in self.columns if self.kind_of(name) in kinds)

    def block(self, names: Sequence[str]) -> Array:
        """Return columns side by side, (rows, columns)."""
        return np.stack([self.columns[name] for name in names], axis=1)

    def replaced(self, taken: Sequence[str], given: Sequence[str], block: Array | None, *, keeps: bool) -> "Frame":
        """Return the frame with columns that were made of others.

        Args:
            taken: What they were made of.
            given: Their names; where they are those of `taken`, each stands where it stood.
            block: (rows, given); None: there are none.
            keeps: Whether what was taken stays, and the new ones stand behind all others.
        """
        made = {} if block is None else {name: np.ascontiguousarray(block[:, at]) for at, name in enumerate(given)}
        order = placed(tuple(self.columns), taken, given, keeps=keeps)
        return Frame({name: made[name] if name in made else self.columns[name] for name in order})


def placed(order: Sequence[str], taken: Sequence[str], given: Sequence[str], *, keeps: bool) -> tuple[str, ...]:
    """Return the order of columns after a step; see `Frame.replaced`.

    Raises:
        DataError: A new column has the name of one that is there.
    """
    if tuple(taken) == tuple(given):
        return tuple(order)
    stay = [name for name in order if keeps or name not in taken]
    twice = sorted(set(stay) & set(given))
    if twice:
        raise DataError(f"transforming: there is a column {twice[0]} already; give the new one another name")
    at = len(stay) if keeps else sum(name in stay for name in order[: order.index(taken[0])])
    return (*stay[:at], *given, *stay[at:])


def kind_in(table: "pa.Table", name: str) -> ColumnKind | Literal["tensor"]:
    """Return what a column of a table holds.

    Raises:
        DataError: It is not there, or of a type that no step takes.
    """
    import pyarrow as pa

    if name not in table.column_names:
        raise DataError(f"transforming: there is no column {name}; the table has {', '.join(table.column_names)}")
    found, types = table[name].type, pa.types
    if isinstance(found, pa.FixedShapeTensorType):
        return "tensor"
    if any(test(found) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)):
        return "number"
    if any(test(found) for test in (types.is_string, types.is_large_string, types.is_dictionary)):
        return "text"
    if types.is_timestamp(found) or types.is_date(found):
        return "time"
    raise DataError(
        f"transforming: the column {name} is {found}, expected numbers, texts, times or tensors; leave it out of "
        "`inputs`, or convert it where the data is made"
    )


def column_of(table: "pa.Table", name: str, kind: ColumnKind) -> Array:
    """Return a column as its kind's type, (rows,).

    Raises:
        DataError: It does not hold values of that kind.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = kind_in(table, name)
    column = table[name]
    try:
        if kind == "text":
            texts = column.cast(pa.string()).fill_null("")
            if pc.any(pc.match_substring(texts, "\0")).as_py():
                raise DataError(
                    f"transforming: a text of {name} has a NUL, which no tensor of texts can hold; clean it"
                )
            return np.asarray(texts.to_numpy(zero_copy_only=False), dtype=np.object_)
        if kind == "time":
            return _seconds(column, found)
        if found == "text":
            column = pc.if_else(pc.equal(column.cast(pa.string()), ""), None, column.cast(pa.string()))
        elif found == "time":
            raise DataError(f"transforming: the column {name} holds times; make numbers of it by the step `date_parts`")
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.uint8())
        with np.errstate(over="ignore"):  # what a float32 can not hold is infinite, as on a device
            return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float32)
    except pa.ArrowException as error:
        raise DataError(
            f"transforming: the column {name}, {column.type}, as {kind}: {error}; mend the value"
        ) from error


def _seconds(column: "pa.ChunkedArray", found: str) -> Array:
    """Return times, or numbers that are seconds already, as seconds since 1970, (rows,) float64."""
    import pyarrow as pa

    if found == "time":
        micros = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
        return np.asarray(micros.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64) / 1e6
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
