"""Parts of the held-out rows that are measured by themselves: by a column's value, by ranges, by quantiles.

What devices can count as well, a condition on one number that goes into the model, goes into the bundle.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from shoal_compression.values import Value
from shoal_training.errors import DataError
from shoal_training.evaluation.scheme import Column, column_of
from shoal_training.evaluation.temporal_scheme import times_of

if TYPE_CHECKING:
    import pyarrow as pa

MOST_VALUES: Final = 32
SMALL_ROWS: Final = 30
"""A slice of fewer is flagged: its figures say little."""
_DOING: Final = "parting rows into slices"
OTHERS: Final = "others"
MISSING: Final = "missing"


class Part(NamedTuple):
    """One slice of the rows.

    Attributes:
        name: Such as `site=north` or `30<age<=60`.
        is_in: Which rows lie in it, (n,) bool.
        column: That decides.
        low: Values are above it; None: no bound, or none of numbers.
        high: Values are at most it; None: as above.
        equals: Values are it; None: bounds decide, or it is no number.
    """

    name: str
    is_in: NDArray[np.bool_]
    column: str
    low: float | None = None
    high: float | None = None
    equals: float | None = None

    @property
    def is_of_numbers(self) -> bool:
        """Whether its condition is one on a number."""
        return not (self.low is None and self.high is None and self.equals is None)


class SlicedColumn(Value):
    """A column whose parts are measured; with neither `equals`, `bounds` nor `quantiles`, by its values."""

    column: Column
    equals: bool | int | float | str | None = None
    """The rows with this value, and no others."""
    bounds: tuple[float, ...] = Field(default=(), max_length=MOST_VALUES)
    """Rising; they part the numbers into ranges, each with its upper bound and without its lower one."""
    quantiles: int | None = Field(default=None, ge=2, le=MOST_VALUES)
    """So many ranges with the same number of rows."""
    most_values: int = Field(default=12, ge=1, le=MOST_VALUES)
    """The most frequent ones; the rest is one slice, `others`."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [self.equals is not None, bool(self.bounds), self.quantiles is not None]
        if sum(given) > 1:
            raise ValueError("two of `equals`, `bounds` and `quantiles` found, expected one at most; leave one out")
        if any(high <= low for low, high in pairwise(self.bounds)):
            raise ValueError(f"the bounds {list(self.bounds)} do not rise; sort them, each once")
        return self

    def parts(self, table: "pa.Table") -> tuple[Part, ...]:
        """Return the slices of a table that hold rows.

        Raises:
            DataError: There is no such column, or no numbers in it where ranges are asked for.
        """
        column_of(table, self.column, _DOING)
        found = self._ranges(table) if self.bounds or self.quantiles else self._values(table)
        return tuple(part for part in found if part.is_in.any())

    def _ranges(self, table: "pa.Table") -> Iterator[Part]:
        values, is_missing = _numbers(table, self.column)
        inner = list(self.bounds)
        if self.quantiles is not None:
            shares = np.arange(1, self.quantiles) / self.quantiles
            known = values[~is_missing]
            inner = np.unique(np.quantile(known, shares, method="inverted_cdf")).tolist() if len(known) else []
        for low, high in pairwise([None, *inner, None]):
            is_in = ~is_missing
            is_in &= values > low if low is not None else True
            is_in &= values <= high if high is not None else True
            yield Part(_range_name(self.column, low, high), is_in, self.column, low, high)
        if is_missing.any():
            yield Part(f"{self.column}={MISSING}", is_missing, self.column)

    def _values(self, table: "pa.Table") -> Iterator[Part]:
        import pyarrow as pa

        column = table[self.column]
        texts = np.array([MISSING if one is None else str(one) for one in column.to_pylist()], dtype=str)
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if self.equals is not None:
            yield self._one(texts, str(self.equals), is_number=is_number)
            return
        names, counts = np.unique(texts, return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")][: self.most_values]
        for name in sorted(frequent.tolist()):
            yield self._one(texts, name, is_number=is_number)
        if len(frequent) < len(names):
            yield Part(f"{self.column}={OTHERS}", ~np.isin(texts, frequent), self.column)

    def _one(self, texts: NDArray[np.str_], value: str, *, is_number: bool) -> Part:
        number = float(value) if is_number and value != MISSING else None
        return Part(f"{self.column}={value}", np.asarray(texts == value), self.column, equals=number)


def _numbers(table: "pa.Table", name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    import pyarrow as pa

    column = table[name]
    is_missing = np.asarray(column.is_null(nan_is_null=True).to_numpy(), dtype=np.bool_)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return times_of(table, name, _DOING), is_missing
    try:
        values = column.cast(pa.float64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{_DOING}: the column {name} is {column.type}, expected numbers for `bounds` or `quantiles`; leave them "
            "out, and it is parted by its values"
        ) from error
    return np.where(is_missing, np.nan, np.asarray(values, dtype=np.float64)), is_missing


def _range_name(column: str, low: float | None, high: float | None) -> str:
    left = "" if low is None else f"{low:g}<"
    right = "" if high is None else f"<={high:g}"
    return f"{left}{column}{right}"


def _named(given: Any) -> Any:  # noqa: ANN401 - what a file has
    return {"column": given} if isinstance(given, str) else given


AnySlicing = Annotated[SlicedColumn, BeforeValidator(_named)]
"""A sliced column; in a file its fields, or the column's name alone."""
