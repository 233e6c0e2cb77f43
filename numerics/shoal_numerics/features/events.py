"""From messages of a source to a batch of events: lines of JSON or CSV, with what is wrong refused and counted."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
from pydantic_core import from_json

from shoal_contract.features import MAX_ENTITY_CHARS, EventForm

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}
_LONGEST_S: Final = 1 << 31
"""Times lie within so many seconds of 1970."""


class ReadLimits(Protocol):
    """What a reader of events takes."""

    @property
    def max_line_bytes(self) -> int:
        """A longer line is thrown away and counted."""

    @property
    def max_message_bytes(self) -> int:
        """A larger message is thrown away and counted."""

    @property
    def ahead_s(self) -> float:
        """An event whose time is so far beyond its arrival is refused: it would close every window."""


class Arrival(NamedTuple):
    """A message of a source.

    Attributes:
        data: One or more lines.
        at_ns: When it came.
        entity: Whose events it has, if the source knows.
        place: Where the source goes on after it, if it can be asked again.
    """

    data: bytes
    at_ns: int
    entity: str = ""
    place: str = ""


class EventBatch(NamedTuple):
    """Events, in the order in which they came.

    Attributes:
        entities: n names.
        times_ns: (n,) int64.
        values: (n, fields) float64; NaN where an event lacks a field, or it is no number.
        came_ns: (n,) int64, when its message came.
    """

    entities: list[str]
    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    came_ns: NDArray[np.int64]


@dataclass
class ReadCounts:
    """What became of lines: `events` were read, `malformed` are none, `ahead` have a time far beyond the clock."""

    events: int = 0
    malformed: int = 0
    ahead: int = 0


class EventReader:
    """Reads events as a pipeline's form says.

    Args:
        form: How.
        fields: Which fields become columns, in order.
        limits: Bounds.
    """

    def __init__(self, form: EventForm, fields: Sequence[str], limits: ReadLimits) -> None:
        self._form = form
        self._fields = tuple(fields)
        self._limits = limits
        self._ahead_ns = int(limits.ahead_s * 1e9)
        self.counts = ReadCounts()

    def read(self, arrivals: Sequence[Arrival]) -> EventBatch:
        """Return the events of messages; what is none is counted, and never raises."""
        entities: list[str] = []
        times: list[int] = []
        came: list[int] = []
        values: list[list[float]] = []
        for arrival in arrivals:
            for event in self._events(arrival.data):
                head = self._head(event, arrival)
                if head is None:
                    continue
                entities.append(head[0])
                times.append(head[1])
                came.append(arrival.at_ns)
                values.append([_number(event.get(field)) for field in self._fields])
        self.counts.events += len(times)
        columns = np.array(values, dtype=np.float64).reshape(len(times), len(self._fields))
        return EventBatch(entities, np.array(times, dtype=np.int64), columns, np.array(came, dtype=np.int64))

    def _events(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield each line's event, or those of a line that is a list of them."""
        if len(data) > self._limits.max_message_bytes:
            self.counts.malformed += 1
            return
        read: Callable[[bytes], Any] = from_json if self._form.kind == "json" else self._of_csv
        for line in data.splitlines():
            if not line.strip():
                continue
            try:
                found = read(line) if len(line) <= self._limits.max_line_bytes else None
            except (ValueError, csv.Error):
                found = None
            for event in found if isinstance(found, list) else [found]:
                if isinstance(event, dict):
                    yield event
                else:
                    self.counts.malformed += 1

    def _of_csv(self, line: bytes) -> dict[str, Any] | None:
        row = next(csv.reader([line.decode()]), [])
        if len(row) != len(self._form.columns):
            return None
        return dict(zip(self._form.columns, row, strict=True))

    def _head(self, event: dict[str, Any], arrival: Arrival) -> tuple[str, int] | None:
        """Return an event's entity and time, or count why there is none."""
        form = self._form
        named = event.get(form.entity_field) if form.entity_field is not None else arrival.entity or form.entity
        entity = str(named) if isinstance(named, str | int) else ""
        time_ns = (
            arrival.at_ns if form.time_field is None else _time_ns(event.get(form.time_field), _NS[form.time_unit])
        )
        if not 0 < len(entity) <= MAX_ENTITY_CHARS or time_ns is None:
            self.counts.malformed += 1
            return None
        if time_ns > arrival.at_ns + self._ahead_ns:
            self.counts.ahead += 1
            return None
        return entity, time_ns


def _number(found: object) -> float:
    """Return a field as a number, NaN where it is none."""
    if type(found) is float:
        return found
    if not isinstance(found, int | str):
        return math.nan
    try:
        return float(found)
    except (ValueError, OverflowError):
        return math.nan


def _time_ns(found: object, unit_ns: int) -> int | None:
    """Return a time in ns since 1970; whole numbers keep every digit."""
    if isinstance(found, str):
        found = int(found) if found.isdecimal() and len(found) < MAX_ENTITY_CHARS else _number(found)
    if type(found) is int:
        time_ns = found * unit_ns
    elif type(found) is float and abs(found) <= _LONGEST_S * 1e9:  # false for NaN
        time_ns = round(found * unit_ns)
    else:
        return None
    return time_ns if abs(time_ns) <= _LONGEST_S * 1_000_000_000 else None
