"""Checks of the values of single columns."""

from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.validation.check import Check, Mask, Outcome
from shoal_training.validation.column_check import ColumnCheck
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
from shoal_training.validation.fixed_patterns import fixed_pattern, match_fixed

if TYPE_CHECKING:
    import pyarrow as pa

MAX_PATTERN: Final = 1_000
_TOLD: Final = 10
_LOOKED_AT: Final = 2_000
_FEW: Final = 0.5
"""Of texts of which no more than this share differ, each that differs is looked at once."""


class NotNull(ColumnCheck):
    """Columns hold a value in each row. NaN is none; an empty text is one, unless that is said."""

    kind: ClassVar[str] = "not_null"

    empty_is_null: bool = False
    """Whether a text without a character is no value."""

    def look(self, name: str, column: "pa.ChunkedArray") -> dict[str, Mask]:
        """See `ColumnCheck`."""
        import pyarrow.compute as pc

        found = {f"{name} is missing": missing_in(column)} if missing_count(column) else {}
        if self.empty_is_null and family_of(column.type) == "text":
            found[f"{name} is empty"] = mask_of(pc.equal(column, ""))
        return found


class Categories(ColumnCheck):
    """Values are among known ones; or, if none are named, no value is rarer than a share of the rows."""

    kind: ClassVar[str] = "categories"
    families: ClassVar[tuple[Family, ...] | None] = ("text", "number", "boolean")

    known: tuple[str | int | bool, ...] = Field(default=(), max_length=10_000)
    rare_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Values that fewer rows have, as a share of all, are bad."""

    @model_validator(mode="after")
    def _check_asked(self) -> Self:
        if not self.known and not self.rare_ratio:
            raise ValueError("nothing is asked; name the `known` categories, or a `rare_ratio`")
        return self

    def look(self, name: str, column: "pa.ChunkedArray") -> dict[str, Mask]:
        """See `ColumnCheck`; some of the values are told with the reason."""
        found: dict[str, Mask] = {}
        if self.known:
            is_bad = self._unknown(name, column)
            found[f"{name} is none of the known categories{_told(column, is_bad)}"] = is_bad
        if self.rare_ratio:
            codes, values = codes_of(column)
            is_rare = np.bincount(codes[codes >= 0], minlength=len(values)) < self.rare_ratio * len(column)
            is_bad = np.append(is_rare, False)[codes]
            found[f"{name} is a rare category{_told(column, is_bad)}"] = is_bad
        return found

    def _unknown(self, name: str, column: "pa.ChunkedArray") -> Mask:
        """Return which rows have another value."""
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            known = pa.array(self.known).cast(column.type)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise DataError(
                f"checking {self.kind}: the known categories are no {column.type} as the column {name}; {error}"
            ) from error
        is_bad = ~np.asarray(pc.is_in(column, value_set=known).to_numpy(), dtype=np.bool_)
        if column.null_count:
            is_bad &= np.asarray(column.is_valid().to_numpy(), dtype=np.bool_)
        return is_bad


class Pattern(ColumnCheck):
    """Texts are, from the first to the last character, what a regular expression (RE2) says. Missing ones are."""

    kind: ClassVar[str] = "pattern"
    families: ClassVar[tuple[Family, ...] | None] = ("text",)

    pattern: str = Field(min_length=1, max_length=MAX_PATTERN)

    def look(self, name: str, column: "pa.ChunkedArray") -> dict[str, Mask]:
        """See `ColumnCheck`."""
        import pyarrow as pa

        try:
            return {f"{name} does not match {self.pattern[:80]}": ~self._matches(column)}
        except pa.ArrowInvalid as error:
            raise DataError(
                f"checking {self.kind}: {self.pattern[:80]!r} is no regular expression of RE2: {error}"
            ) from error

    def _matches(self, column: "pa.ChunkedArray") -> Mask:
        import pyarrow as pa
        import pyarrow.compute as pc

        places = fixed_pattern(self.pattern) if column.type == pa.string() else None
        if places is not None:
            return match_fixed(column, places)
        whole = rf"\A(?:{self.pattern})\z"
        some = column.slice(0, _LOOKED_AT)
        if pc.count_distinct(some).as_py() > _FEW * len(some):
            matched = pc.match_substring_regex(column, whole)
            matched = matched.fill_null(True) if column.null_count else matched  # noqa: FBT003 - Arrow's
            return np.asarray(matched.to_numpy(), dtype=np.bool_)
        codes, values = codes_of(column)
        matched = pc.match_substring_regex(values, whole).to_numpy(zero_copy_only=False)
        found: Mask = np.append(matched, True)[codes]
        return found


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


def _told(column: "pa.ChunkedArray", is_bad: Mask) -> str:
    """Return some of the values of bad rows, as the end of a reason."""
    import pyarrow.compute as pc

    some = np.flatnonzero(is_bad)[:_LOOKED_AT]
    if not len(some):
        return ""
    values = pc.unique(column.take(some)).to_pylist()
    more = ", …" if len(values) > _TOLD else ""
    return f": {', '.join(str(value)[:40] for value in values[:_TOLD])}{more}"
