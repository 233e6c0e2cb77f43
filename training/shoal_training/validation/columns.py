"""Checks of the values of single columns."""

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.validation.check import Check, Mask, Outcome
from shoal_training.validation.column_values import (
    Family,
    codes_of,
    family_of,
    mask_of,
    missing_count,
    missing_in,
    named_columns,
    names_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Annotated[tuple[str, ...], Field(min_length=1)]
MAX_PATTERN = 1_000
_FEW = 0.5
"""Of texts of which no more than this share differ, each that differs is looked at once."""


class NotNull(Check):
    """Columns hold a value in each row. NaN is none; an empty text is one, unless that is said."""

    kind: ClassVar[str] = "not_null"

    columns: Columns
    empty_is_null: bool = False
    """Whether a text without a character is no value."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        import pyarrow.compute as pc

        reasons: dict[str, Mask] = {}
        for name, column in named_columns(table, self.columns, self.kind):
            if missing_count(column):
                reasons[f"{name} is missing"] = missing_in(column)
            if self.empty_is_null and family_of(column.type) == "text":
                reasons[f"{name} is empty"] = mask_of(pc.equal(column, ""))
        return self.judged(len(table), reasons)


class Range(Check):
    """Numbers or times lie within bounds, which are within. Missing ones do; infinities do not, where a bound is."""

    kind: ClassVar[str] = "range"

    columns: Columns
    min: float | datetime | None = None
    max: float | datetime | None = None
    """A time is given as a text, like "2026-03-01T00:00:00Z"; without a zone it is in UTC."""
    exclusive: bool = False
    """Whether the bounds themselves lie without."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("no bound is given; add `min`, `max` or both")
        if type(self.min) is type(self.max) and self.min > self.max:  # type: ignore[operator]
            raise ValueError(f"`min` is {self.min} and `max` {self.max}; give a min below the max")
        return self

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        import pyarrow.compute as pc

        reasons: dict[str, Mask] = {}
        for name, column in named_columns(table, self.columns, self.kind, ("number", "time")):
            words = ("not above", "not below") if self.exclusive else ("below", "above")
            for bound, end, word, is_out in (
                (self.min, pc.min, words[0], pc.less_equal if self.exclusive else pc.less),
                (self.max, pc.max, words[1], pc.greater_equal if self.exclusive else pc.greater),
            ):
                if bound is None:
                    continue
                compared, limit = _comparable(column, bound, name)
                if is_out(end(compared), limit).as_py():  # of one look, before rows are told apart
                    reasons[f"{name} is {word} {_shown(bound)}"] = mask_of(is_out(compared, limit))
        return self.judged(len(table), reasons)


class Categories(Check):
    """Values are among known ones; or, if none are named, no value is rarer than a share of the rows."""

    kind: ClassVar[str] = "categories"

    columns: Columns
    known: tuple[str | int | bool, ...] = Field(default=(), max_length=10_000)
    rare_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Values that fewer rows have, as a share of all, are bad."""

    @model_validator(mode="after")
    def _check_asked(self) -> Self:
        if not self.known and not self.rare_ratio:
            raise ValueError("nothing is asked; name the `known` categories, or a `rare_ratio`")
        return self

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        reasons: dict[str, Mask] = {}
        seen: dict[str, list[Any]] = {}
        for name, column in named_columns(table, self.columns, self.kind, ("text", "number", "boolean")):
            if self.known:
                found, values = self._unknown(name, column)
                seen |= {name: values} if values else {}
                reasons |= {f"{name} is no known category": found} if values else {}
            if self.rare_ratio:
                codes, values = codes_of(column)
                counts = np.bincount(codes[codes >= 0], minlength=len(values))
                rare = (counts < self.rare_ratio * len(table)) & (codes >= 0).any()
                if rare.any():
                    seen[f"{name} rare"] = [values[int(at)].as_py() for at in np.flatnonzero(rare)[:10]]
                    reasons[f"{name} is a rare category"] = np.append(rare, False)[codes]
        return self.judged(len(table), reasons, {"found": seen} if seen else None)

    def _unknown(self, name: str, column: "pa.ChunkedArray") -> tuple[Mask, list[Any]]:
        """Return which rows have another value, and some of these."""
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            known = pa.array(self.known).cast(column.type)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise DataError(
                f"checking {self.kind}: the known categories are no {column.type} as the column {name}; {error}"
            ) from error
        is_in = pc.is_in(column, value_set=known)
        if pc.sum(pc.invert(is_in)).as_py() in (
            column.null_count,
            None,
        ):  # missing ones are not among them, and not bad
            return np.zeros(len(column), dtype=np.bool_), []
        is_bad = np.asarray(pc.and_(pc.invert(is_in), column.is_valid()).to_numpy(), dtype=np.bool_)
        return is_bad, [one.as_py() for one in pc.unique(column.filter(pa.chunked_array([is_bad])))[:10]]


class Pattern(Check):
    """Texts are, from the first to the last character, what a regular expression (RE2) says. Missing ones are."""

    kind: ClassVar[str] = "pattern"

    columns: Columns
    pattern: str = Field(min_length=1, max_length=MAX_PATTERN)

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        reasons: dict[str, Mask] = {}
        for name, column in named_columns(table, self.columns, self.kind, ("text",)):
            is_bad = ~self._matches(column)
            if is_bad.any():
                reasons[f"{name} does not match {self.pattern[:80]}"] = is_bad
        return self.judged(len(table), reasons)

    def _matches(self, column: "pa.ChunkedArray") -> Mask:
        import pyarrow as pa
        import pyarrow.compute as pc

        whole = rf"\A(?:{self.pattern})\z"
        try:
            few = pc.count_distinct(column.slice(0, 2_000)).as_py() <= _FEW * min(2_000, max(1, len(column)))
            if not few:
                return np.asarray(pc.match_substring_regex(column, whole).fill_null(True).to_numpy(), dtype=np.bool_)  # noqa: FBT003 - Arrow's
            codes, values = codes_of(column)
            return np.append(pc.match_substring_regex(values, whole).to_numpy(zero_copy_only=False), True)[codes]
        except pa.ArrowInvalid as error:
            raise DataError(
                f"checking {self.kind}: {self.pattern[:80]!r} is no regular expression of RE2: {error}"
            ) from error


class Constant(Check):
    """Columns are not stuck: no value is that of more than a share of the rows. Of a table as a whole."""

    kind: ClassVar[str] = "not_constant"

    columns: tuple[str, ...] = ()
    """Empty: all of numbers, texts, truths and times."""
    max_ratio: float = Field(default=1.0, gt=0, le=1)
    """The largest share of one value among those there are; 1: it is bad only if all are the same."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        families: tuple[Family, ...] = ("number", "text", "boolean", "time")
        names = self.columns or names_of(table, families)
        found: dict[str, float] = {}
        for name, column in named_columns(table, names, self.kind, families):
            there = column.filter(pa.chunked_array([~missing_in(column)])) if missing_count(column) else column
            if len(there) == 0:
                found[name] = 1.0
            elif self.max_ratio == 1.0:
                found |= {name: 1.0} if pc.all(pc.equal(there, there[0])).as_py() else {}
            else:
                codes, values = codes_of(there)
                share = float(np.bincount(codes, minlength=len(values)).max() / len(there))
                found |= {name: share} if share >= self.max_ratio else {}
        told = ", ".join(f"{name} ({share:.1%} of its values are the same)" for name, share in found.items())
        message = f"stuck columns: {told}" if found else "no column is stuck"
        return Outcome(not found, message, facts={"columns": found})


def _comparable(
    column: "pa.ChunkedArray", bound: "float | datetime", name: str
) -> tuple["pa.ChunkedArray", "pa.Scalar"]:
    """Return a column and a bound in types that compare."""
    import pyarrow as pa

    is_time = family_of(column.type) == "time"
    if is_time != isinstance(bound, datetime):
        expected = "a time, like 2026-03-01T00:00:00Z" if is_time else "a number"
        raise DataError(f"checking range: the column {name} is {column.type}, and its bound {bound}; give {expected}")
    if not isinstance(bound, datetime):
        if pa.types.is_floating(column.type):
            return column, pa.scalar(bound, pa.float64())
        if pa.types.is_signed_integer(column.type) and bound.is_integer() and abs(bound) < 2**63:
            return column, pa.scalar(int(bound), pa.int64())  # exact, where numbers beyond 2^53 are no floats
        return column.cast(pa.float64(), safe=False), pa.scalar(bound, pa.float64())
    aware = bound if bound.tzinfo else bound.replace(tzinfo=timezone.utc)
    zone = getattr(column.type, "tz", None)
    kind = pa.timestamp("us", tz="UTC" if zone else None)
    return column, pa.scalar(aware if zone else aware.astimezone(timezone.utc).replace(tzinfo=None), kind)


def _shown(bound: "float | datetime") -> str:
    return bound.isoformat() if isinstance(bound, datetime) else f"{bound:g}"
