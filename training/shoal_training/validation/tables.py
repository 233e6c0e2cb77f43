"""Checks of a table as a whole: its columns, its number of rows, and how new it is."""

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.validation.check import Check, Outcome
from shoal_training.validation.column_values import family_of, named_columns

if TYPE_CHECKING:
    import pyarrow as pa

_FAMILIES: Final = frozenset({"number", "text", "time", "boolean", "tensor"})


class Schema(Check):
    """The table has these columns, of these types."""

    kind: ClassVar[str] = "schema"

    columns: dict[str, str] = Field(default={}, max_length=10_000)
    """Types by name: Arrow's, like int64 or timestamp[us], or number, text, time, boolean, tensor for any of that kind.
    Empty: those of the version before."""
    extra: bool = False
    """Whether there may be other columns."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:
        """See `Check`."""
        if not self.columns and before is None:
            return Outcome(passed=True, message="there is no version before to compare columns with")
        expected = self.columns or {one.name: str(one.type) for one in before.schema}  # type: ignore[union-attr]
        found = {one.name: one.type for one in table.schema}
        missing = [name for name in expected if name not in found]
        added = [] if self.extra else [name for name in found if name not in expected]
        retyped = {
            name: f"{found[name]} instead of {asked}"
            for name, asked in expected.items()
            if name in found and not _is_of(found[name], asked)
        }
        told = [f"{word} {', '.join(names)}" for word, names in (("missing:", missing), ("extra:", added)) if names]
        told += [f"retyped: {', '.join(f'{name} is {how}' for name, how in retyped.items())}"] if retyped else []
        message = "; ".join(told) or f"all {len(expected)} columns are there, as they should be"
        return Outcome(not told, message, facts={"missing": missing, "extra": added, "retyped": retyped})


class RowCount(Check):
    """There are enough rows, and not too many; by number, or beside the version before."""

    kind: ClassVar[str] = "row_count"

    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)
    max_change_ratio: float | None = Field(default=None, gt=0)
    """By how much there may be more or fewer than in the version before, as a share of those; 0.5 is half as many."""

    @model_validator(mode="after")
    def _check_asked(self) -> Self:
        if self.min is None and self.max is None and self.max_change_ratio is None:
            raise ValueError("nothing is asked; add `min`, `max` or `max_change_ratio`")
        return self

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:
        """See `Check`."""
        rows, wrong = len(table), []
        if self.min is not None and rows < self.min:
            wrong.append(f"at least {self.min:,} expected")
        if self.max is not None and rows > self.max:
            wrong.append(f"at most {self.max:,} expected")
        if self.max_change_ratio is not None and before is not None and len(before):
            change = rows / len(before) - 1
            if abs(change) > self.max_change_ratio:
                wrong.append(f"{change:+.1%} beside the {len(before):,} of the version before")
        message = f"{rows:,} rows" + (f": {', '.join(wrong)}" if wrong else "")
        return Outcome(not wrong, message, facts={"rows": rows, "before": None if before is None else len(before)})


class Freshness(Check):
    """The newest time of a column is not older than an age. What it says changes with time, so each run asks anew."""

    kind: ClassVar[str] = "freshness"
    asks_the_clock: ClassVar[bool] = True

    column: str
    max_age: timedelta
    """Like "PT36H" or "P7D" (ISO 8601), or seconds."""

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        return self.at(table, datetime.now(timezone.utc))

    def at(self, table: "pa.Table", now: datetime) -> Outcome:
        """Examine as at another time.

        Raises:
            DataError: The column holds no times.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        [(_, column)] = named_columns(table, [self.column], self.kind, ("time",))
        newest = pc.max(column)
        if not newest.is_valid:
            raise DataError(f"checking {self.kind}: {self.column} holds no time in any row; name another column")
        micros = newest.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
        at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros.as_py())
        age = now - at
        message = (
            f"the newest {self.column} is {at:%Y-%m-%d %H:%M} UTC, {_shown(age)} ago; {_shown(self.max_age)} expected"
        )
        return Outcome(age <= self.max_age, message, facts={"newest": at.isoformat(), "age_s": age.total_seconds()})


def _is_of(found: "pa.DataType", asked: str) -> bool:
    import pyarrow as pa

    if asked in _FAMILIES:
        return family_of(found) == asked
    if str(found) == asked:
        return True
    try:
        return bool(found.equals(pa.type_for_alias(asked)))  # float64 is a double, str a string
    except ValueError:
        return False


def _shown(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours / 24:.1f} days" if abs(hours) >= 48 else f"{hours:.1f} hours"  # noqa: PLR2004 - two days
