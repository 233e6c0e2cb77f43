"""The step that makes numbers of times: parts of their dates, in UTC or at a fixed distance from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import ColumnKind, Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.step import FittedStep, Step

Part = Literal["year", "month", "day", "weekday", "is_weekend", "hour", "minute"]
FIRST_S: Final = -62_135_596_800.0
LAST_S: Final = 253_402_300_799.0
"""Of the years 1 to 9999; what lies outside has no parts."""
_CYCLES: Final[dict[Part, tuple[int, int]]] = {"month": (1, 12), "weekday": (0, 7), "hour": (0, 24), "minute": (0, 60)}
"""The first value and the length of those that come round."""


class DateParts(Step):
    """Puts parts of its date in place of a time: columns of times, or numbers that are seconds since 1970.

    Such a column becomes an input of its own of the model, seconds since 1970 in 64 bits. A weekday is 0 on Mondays.
    """

    kind: ClassVar[str] = "date_parts"
    takes: ClassVar[frozenset[ColumnKind]] = frozenset({"time"})

    parts: tuple[Part, ...] = Field(default=("month", "weekday", "hour"), min_length=1)
    is_cyclic: bool = False
    """Whether what comes round, months, weekdays, hours and minutes, becomes a sine and a cosine."""
    utc_offset_hours: float = Field(default=0.0, ge=-24, le=24)

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:  # noqa: ARG002 - nothing is learned
        """See `Step`."""
        return tuple(self._of(name) for name in names)

    def _of(self, name: str) -> FittedStep:
        offset_s = 3600.0 * self.utc_offset_hours
        cyclic = [part in _CYCLES and self.is_cyclic for part in self.parts]

        def compute(block: Array) -> Array:
            found, is_known = parts_of(block[:, 0] + offset_s, self.parts)
            columns: list[Array] = []
            for part, comes_round in zip(self.parts, cyclic, strict=True):
                turn = _turn(found[part], part) if comes_round else None
                columns += [found[part]] if turn is None else [np.sin(turn), np.cos(turn)]
            return np.where(is_known[:, np.newaxis], np.stack(columns, axis=1), np.nan).astype(np.float32)

        def write(writer: GraphWriter, tensor: str) -> str:
            moved = _Number(writer, tensor) + offset_s
            found = _written_parts(moved, self.parts)
            columns: list[str] = []
            for part, comes_round in zip(self.parts, cyclic, strict=True):
                turn = writer.cast(_turn(found[part], part).tensor, np.float32) if comes_round else ""
                columns += [writer.add("Sin", turn), writer.add("Cos", turn)] if turn else [found[part].as_float32()]
            joined = columns[0] if len(columns) == 1 else writer.add("Concat", *columns, axis=1)
            return _where_known(writer, moved.tensor, joined)

        given = [
            one
            for part, comes_round in zip(self.parts, cyclic, strict=True)
            for one in ([f"{name}_{part}_sin", f"{name}_{part}_cos"] if comes_round else [f"{name}_{part}"])
        ]
        return FittedStep((name,), tuple(given), compute, write)


def parts_of(seconds: Array, parts: tuple[Part, ...]) -> tuple[dict[Part, Array], Array]:
    """Return parts of times, (rows,) float64 each, and which times have any."""
    is_known = (seconds >= FIRST_S) & (seconds <= LAST_S)
    whole = np.floor(np.where(is_known, seconds, 0.0)).astype(np.int64)
    at = whole.astype("datetime64[s]")
    days, months, years = (at.astype(f"datetime64[{unit}]") for unit in "DMY")
    weekday = (days.astype(np.int64) + 3) % 7
    of: dict[Part, Callable[[], Array]] = {
        "year": lambda: years.astype(np.int64) + 1970,
        "month": lambda: months.astype(np.int64) % 12 + 1,
        "day": lambda: (days - months).astype(np.int64) + 1,
        "weekday": lambda: weekday,
        "is_weekend": lambda: weekday >= 5,  # noqa: PLR2004 - Saturday and Sunday
        "hour": lambda: whole % 86_400 // 3_600,
        "minute": lambda: whole % 3_600 // 60,
    }
    return {part: of[part]().astype(np.float64) for part in parts}, is_known


def _turn(value: Any, part: Part) -> Any:  # noqa: ANN401 - an array, or a number in a graph
    """Return how far round it is, in radians."""
    first, length = _CYCLES[part]
    return (value + float(-first)) * (2 * np.pi / length)


@dataclass(frozen=True)
class _Number:
    """A tensor of 64 bits in a graph, with which formulas are written."""

    writer: GraphWriter
    tensor: str

    def __add__(self, other: "float | _Number") -> "_Number":
        return self._with("Add", other)

    def __sub__(self, other: "float | _Number") -> "_Number":
        return self._with("Sub", other)

    def __mul__(self, other: "float | _Number") -> "_Number":
        return self._with("Mul", other)

    def __floordiv__(self, other: float) -> "_Number":
        """Divide and round down; exact, as whole numbers below 2^53 are."""
        return _Number(self.writer, self.writer.add("Floor", self._with("Div", other).tensor))

    def __mod__(self, other: float) -> "_Number":
        return self - (self // other) * other

    def at_least(self, bound: float) -> "_Number":
        """Return 1 where it is at least the bound, 0 elsewhere."""
        found = self.writer.add("GreaterOrEqual", self.tensor, self.writer.constant(bound, np.float64))
        return _Number(self.writer, self.writer.cast(found, np.float64))

    def as_float32(self) -> str:
        return self.writer.cast(self.tensor, np.float32)

    def _with(self, operator: str, other: "float | _Number") -> "_Number":
        second = other.tensor if isinstance(other, _Number) else self.writer.constant(other, np.float64)
        return _Number(self.writer, self.writer.add(operator, self.tensor, second))


def _written_parts(seconds: _Number, parts: tuple[Part, ...]) -> dict[Part, _Number]:
    """Write parts of times; the calendar's by Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013."""
    whole = seconds // 1.0
    days = whole // 86_400.0
    second_of_day = whole - days * 86_400.0
    found: dict[Part, _Number] = {
        "hour": second_of_day // 3_600.0,
        "minute": (second_of_day % 3_600.0) // 60.0,
        "weekday": (days + 3.0) % 7.0,
    }
    found["is_weekend"] = found["weekday"].at_least(5.0)
    if {"year", "month", "day"} & set(parts):
        shifted = days + 719_468.0  # since March 1 of the year 0
        era = shifted // 146_097.0
        day_of_era = shifted - era * 146_097.0
        leap = day_of_era - day_of_era // 1_460.0 + day_of_era // 36_524.0 - day_of_era // 146_096.0
        year_of_era = leap // 365.0
        day_of_year = day_of_era - (year_of_era * 365.0 + year_of_era // 4.0 - year_of_era // 100.0)
        from_march = (day_of_year * 5.0 + 2.0) // 153.0
        month = from_march + 3.0 - from_march.at_least(10.0) * 12.0
        found["day"] = day_of_year - (from_march * 153.0 + 2.0) // 5.0 + 1.0
        found["month"] = month
        found["year"] = year_of_era + era * 400.0 + from_march.at_least(10.0)
    return found


def _where_known(writer: GraphWriter, seconds: str, columns: str) -> str:
    late = writer.add("GreaterOrEqual", seconds, writer.constant([FIRST_S], np.float64))
    early = writer.add("LessOrEqual", seconds, writer.constant([LAST_S], np.float64))
    return writer.add("Where", writer.add("And", late, early), columns, writer.constant([np.nan], np.float32))
