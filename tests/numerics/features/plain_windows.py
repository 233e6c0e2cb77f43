"""Feature windows as their definition reads: one event at a time, every value kept, nothing vectorised."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shoal_contract.features import CountWindow, Feature, FeatureDefinition, TimeWindow

_PLAIN: dict[str, Callable[..., Any]] = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}


@dataclass
class Row:
    """A window that has closed."""

    entity: str
    start_ns: int
    end_ns: int
    events: int
    values: list[float]


@dataclass
class Known:
    """What is kept of one entity: all its events as (time, values), and how far its windows have been given out."""

    events: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    front: int | None = None
    closed: int | None = None
    seen: int = 0


class PlainWindows:
    """The same face as `FeatureWindows`, by definition."""

    def __init__(self, definition: FeatureDefinition) -> None:
        self.definition = definition
        self.fields = sorted({one.field for one in definition.features.values() if one.field})
        self.known: dict[str, Known] = {}
        self.late = self.evicted = self.number = 0

    def add(self, entity: str, time_ns: int, values: tuple[float, ...]) -> list[Row]:
        if entity not in self.known and len(self.known) >= self.definition.max_entities:
            del self.known[min(self.known, key=lambda one: self.known[one].seen)]
            self.evicted += 1
        known = self.known.setdefault(entity, Known())
        known.seen = self.number = self.number + 1
        window = self.definition.window
        if isinstance(window, CountWindow):
            known.events.append((time_ns, values))
            count = len(known.events)
            if count < window.size or count % window.every:
                return []
            return [self._row(entity, known.events[-window.size :], None)]
        assert isinstance(window, TimeWindow), "sessions have a definition of their own in test_sessions"
        step, late = window.every_ms * 1_000_000, window.lateness_ms * 1_000_000
        if known.front is not None and time_ns // step < (known.front - late) // step:
            self.late += 1
            return []
        known.events.append((time_ns, values))
        return self._advance(entity, max(time_ns, known.front if known.front is not None else time_ns), window)

    def advance(self, now_ns: int) -> list[Row]:
        window = self.definition.window
        if not isinstance(window, TimeWindow):
            return []
        found = []
        for entity, known in self.known.items():
            front = max(now_ns, known.front if known.front is not None else now_ns)
            found += self._advance(entity, front, window)
        return found

    def _advance(self, entity: str, front: int, window: TimeWindow) -> list[Row]:
        known = self.known[entity]
        known.front = front
        step, size = window.every_ms * 1_000_000, window.size_ms * 1_000_000
        bound = (front - window.lateness_ms * 1_000_000) // step
        first = min(time for time, _ in known.events) // step
        start = first if known.closed is None else max(known.closed, first)
        found = []
        for pane in range(start, bound):  # the pane with which a window ends
            end = (pane + 1) * step
            inside = [event for event in known.events if end - size <= event[0] < end]
            if inside:
                found.append(self._row(entity, inside, (end - size, end)))
        known.closed = bound if known.closed is None else max(known.closed, bound)
        return found

    def _row(self, entity: str, events: list[tuple[int, tuple[float, ...]]], bounds: tuple[int, int] | None) -> Row:
        times = [time for time, _ in events]
        start, end = bounds or (min(times), max(times))
        features = sorted(self.definition.features.items())
        values = [self._value(one, events, start, end) for _, one in features]
        return Row(entity, start, end, len(events), values)

    def _value(  # noqa: PLR0911 - one return a definition
        self, one: Feature, events: list[tuple[int, tuple[float, ...]]], start: int, end: int
    ) -> float:
        times = [time for time, _ in events]
        if one.aggregate == "events":
            return float(len(events))
        if one.aggregate == "since_last":
            return (end - max(times)) / 1e9
        if one.aggregate == "rate":
            if isinstance(self.definition.window, TimeWindow):
                return len(events) / (self.definition.window.size_ms / 1e3)
            return (len(events) - 1) / ((end - start) / 1e9) if end > start else math.nan
        assert one.field is not None
        column = self.fields.index(one.field)
        there = [(time, row[column]) for time, row in events if abs(row[column]) <= 1e150]
        if not there:
            return math.nan
        if one.aggregate == "last":
            if isinstance(self.definition.window, CountWindow):
                return there[-1][1]
            return [value for time, value in there if time == max(time for time, _ in there)][-1]
        return float(_PLAIN[one.aggregate]([value for _, value in there]))
