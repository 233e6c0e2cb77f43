"""Features of event streams, by entity: events come in batches, windows leave as they close.

**Order and lateness.** A window by time closes once an event of its entity, or `advance`, is `lateness` beyond its end.
An event is late, counted and dropped if a window that it would be in has closed; else order does not matter. Windows
by count take events in the order in which they come, and leave when they are full. A window without events never does.

**Missing values.** NaN, infinity and what is beyond 1e150 is no value: no aggregate has it, and the event counts.

**Memory** is bounded by the definition; one entity too many takes the place of the stalest, whose windows are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from shoal_contract.features import FeatureDefinition
from shoal_numerics.errors import FeatureError
from shoal_numerics.features.entities import Entities
from shoal_numerics.features.panes import Floats, Integers, Panes, combine, group_starts
from shoal_numerics.features.plan import WindowPlan
from shoal_numerics.features.ring import PaneRing, Table
from shoal_numerics.features.spans import Spans, closed_windows, combine_spans
from shoal_numerics.features.values import bounds_of, feature_values

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_TIME_NS: Final = 1 << 61
"""Times lie within 73 years of 1970."""
_EVENTS_AT_ONCE: Final = 8192
_WINDOWS_AT_ONCE: Final = 1 << 20
_ROWS_AT_ONCE: Final = 1 << 18
_CELLS_AT_ONCE: Final = 1 << 22


class WindowRows(NamedTuple):
    """Windows that have closed; those of one entity in order of time.

    Attributes:
        entities: w names.
        start_ns: (w,) int64.
        end_ns: (w,) int64; of a window by count the time of its last event.
        events: (w,) int64.
        values: (w, features) float64, in the order of the plan's names; NaN where a window has no value.
    """

    entities: list[str]
    start_ns: Integers
    end_ns: Integers
    events: Integers
    values: Floats


@dataclass
class StreamCounts:
    """What has become of events, since the windows were made.

    Attributes:
        taken: Events that are in windows.
        late: Events that came after their windows had closed.
        missing: Values of taken events that were no number.
        windows: Windows that have closed.
        evicted: Entities that have given way to others.
    """

    taken: int = 0
    late: int = 0
    missing: int = 0
    windows: int = 0
    evicted: int = 0


class FeatureWindows:
    """The windows of one definition. Not safe for concurrent use.

    Counts, least, greatest and last values are the same to the bit however events are cut into batches; means, standard
    deviations and powers to rounding.

    Args:
        definition: What is computed.

    Raises:
        FeatureError: It cannot be computed, see `WindowPlan.of`.
    """

    def __init__(self, definition: FeatureDefinition) -> None:
        self.plan = WindowPlan.of(definition)
        self.counts = StreamCounts()
        self.entities = Entities(self.plan.max_entities)
        self.ring = PaneRing(self.plan)
        self.number = 0
        """Events that have come, of all entities."""
        cells = max(self.plan.samples * len(self.plan.fields), 1)
        # What a batch may make at once: windows of events that are far apart, and samples of panes with one event.
        self._at_once = max(min(_EVENTS_AT_ONCE, _WINDOWS_AT_ONCE // self.plan.panes, _CELLS_AT_ONCE // cells), 64)
        self._rows_at_once = max(_CELLS_AT_ONCE // (cells * self.plan.panes), 1) if self.plan.samples else _ROWS_AT_ONCE

    def add(self, entities: Sequence[str], times: ArrayLike, values: ArrayLike) -> WindowRows:
        """Take a batch of events in the order in which they came; return the windows that they have closed.

        A call costs about a millisecond besides its events: give it hundreds at a time where there are as many.

        Args:
            entities: n names.
            times: (n,) int64 in ns or float64 in s, since 1970.
            values: (n, c) float64, a column for each of the plan's fields; (n,) where there is one.

        Raises:
            FeatureError: Another form, or a time that is none or beyond `MAX_TIME_NS`. None of the events is taken.
        """
        times_ns, columns = self._checked(entities, times, values)
        found = []
        for start in range(0, len(entities), self._at_once):
            keys = entities[start : start + self._at_once]
            for part, void in self.entities.admitted(keys):
                self._make_room(void)
                here = slice(start + part.start, start + part.stop)
                slots = self.entities.slots_of(keys[part])
                found.append(self._take(slots, times_ns[here], columns[here]))
        return self._joined(found)

    def advance(self, now_ns: int) -> WindowRows:
        """Close the windows by time that end before `now_ns` less the lateness, for entities that are silent, too.

        Args:
            now_ns: In ns since 1970; an earlier one than before changes nothing. Windows by count do not go by it.

        Raises:
            FeatureError: A time beyond `MAX_TIME_NS`.
        """
        if abs(now_ns) > MAX_TIME_NS:
            message = f"Advancing windows to {now_ns} ns: expected at most {MAX_TIME_NS}. Check the clock."
            raise FeatureError(message)
        if self.plan.is_count:
            return self._joined([])
        live = self.entities.live()
        front = np.maximum(self.entities.front[live], now_ns)
        self.entities.front[live] = front
        due = live[self._bound(front) > self.entities.closed[live]]
        return self._joined([self._settle(due, self.ring.read(due))])

    def _checked(self, entities: Sequence[str], times: ArrayLike, values: ArrayLike) -> tuple[Integers, Floats]:
        stamps, columns = np.asarray(times), np.asarray(values, dtype=np.float64)
        expected = (len(entities), len(self.plan.fields))
        if columns.size == expected[0] * expected[1] and (columns.ndim == 1 or not columns.size):
            columns = columns.reshape(expected)
        if stamps.shape != expected[:1] or columns.shape != expected:
            message = (
                f"Adding events: {len(entities)} entities, times {stamps.shape} and values {columns.shape} found, "
                f"expected times {expected[:1]} and values {expected}."
            )
            raise FeatureError(message)
        return _in_ns(stamps), columns

    def _make_room(self, void: Sequence[int]) -> None:
        """Make room for entities that have come, and forget the panes of those that have given way."""
        self.ring.grow(len(self.entities.names))
        if void:
            slots = np.array(void, dtype=np.int64)
            self.ring.write(slots, self.ring.read(slots[:0]))
            self.counts.evicted += len(void)

    def _take(self, slots: Integers, times_ns: Integers, values: Floats) -> WindowRows:
        """Take events of entities that have a slot."""
        number = self.number + np.arange(len(slots))
        self.number += len(slots)
        order = np.argsort(slots, kind="stable")
        slots, times_ns, values = slots[order], times_ns[order], values[order]
        starts = group_starts(slots)
        touched = slots[starts]
        self.entities.seen[touched] = np.maximum.reduceat(number[order], starts)
        front = self.entities.front[touched]
        lengths = np.diff(np.append(starts, len(slots)))
        if self.plan.is_count:
            had = np.maximum(front, 0)
            position = np.repeat(had - starts, lengths) + np.arange(len(slots))
            self.entities.front[touched] = had + lengths
        else:
            position = times_ns
            is_on_time = self._step_of(position) >= self._bound(fronts_before(front, position, starts))
            self.entities.front[touched] = np.maximum(front, np.maximum.reduceat(position, starts))
            slots, position, times_ns = slots[is_on_time], position[is_on_time], times_ns[is_on_time]
            values = values[is_on_time]
        self.counts.late += len(order) - len(slots)
        return self._settle(touched, self._with_new(touched, slots, position, times_ns, values))

    def _with_new(
        self, touched: Integers, slots: Integers, position: Integers, times_ns: Integers, values: Floats
    ) -> Table:
        """Return the panes of entities with new events in them."""
        held = self.ring.read(touched)
        events = Panes.of_events(slots, position // self.plan.pane, position, times_ns, values)
        self.counts.taken += len(slots)
        self.counts.missing += values.size - int(events.present.sum())
        order = np.lexsort((events.pane, events.slot))
        if not np.array_equal(order, np.arange(len(order))):  # they mostly are in order
            events, position = events.take(order), position[order]
        starts = group_starts(events.slot, events.pane)
        new = Table(combine(events, starts), self._samples(events, position, starts))
        return _merged(held, new)

    def _samples(self, events: Panes, position: Integers, starts: Integers) -> Floats:
        """Return the samples of new panes; of two events in one place the one that came later counts."""
        plan = self.plan
        samples = np.full((len(starts), plan.samples, len(plan.fields)), np.nan)
        if plan.samples:
            group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(position))))
            place = (position % plan.pane) * plan.samples // plan.pane
            for field in range(len(plan.fields)):
                there = events.present[:, field] > 0
                samples[group[there], place[there], field] = events.mean[there, field]
        return samples

    def _settle(self, touched: Integers, table: Table) -> WindowRows:
        """Close what is to be closed of some entities, and hold the rest of their panes."""
        plan, entities = self.plan, self.entities
        before, after = entities.closed[touched], self._bound(entities.front[touched])
        after = np.maximum(before, after)
        entities.closed[touched] = after
        row = np.searchsorted(touched, table.panes.slot)
        # A window by count leaves when it is full, not before.
        since = np.maximum(before, plan.panes - 1) if plan.is_count else before
        spans = closed_windows(table.panes, plan.panes, since[row], after[row])
        found = [self._rows(table, part) for part in spans.in_parts(self._rows_at_once)]
        self.ring.write(touched, table.take(table.panes.pane > after[row] - plan.panes))
        return self._joined(found)

    def _rows(self, table: Table, spans: Spans) -> WindowRows:
        windows = combine_spans(table.panes, spans)
        bounds = bounds_of(self.plan, windows, spans.end)
        values = feature_values(self.plan, windows, bounds, table, spans)
        self.counts.windows += len(spans.end)
        return WindowRows(
            [self.entities.names[slot] for slot in windows.slot.tolist()], *bounds, windows.events, values
        )

    def _step_of(self, position: Integers) -> Integers:
        """Return what is compared with `_bound` to tell whether an event is late."""
        step: Integers = position // self.plan.pane
        return step

    def _bound(self, front: Integers) -> Integers:
        """Return before which pane windows end that are closed, by how far an entity has come."""
        bound: Integers = (front - self.plan.lateness) // self.plan.pane
        return bound

    def _joined(self, parts: Sequence[WindowRows]) -> WindowRows:
        if len(parts) == 1:
            return parts[0]
        none = np.zeros(0, dtype=np.int64)
        parts = [WindowRows([], none, none, none, np.zeros((0, len(self.plan.features)))), *parts]
        names = [name for part in parts for name in part.entities]
        return WindowRows(names, *(np.concatenate([part[n] for part in parts]) for n in range(1, 5)))


def fronts_before(front: Integers, position: Integers, starts: Integers) -> Integers:
    """Return how far its entity had come before each event, (n,) int64.

    Args:
        front: (groups,) how far before the first of them.
        position: (n,) positions, those of an entity beside each other, in the order in which they came.
        starts: (groups,) where entities begin.
    """
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(position))))
    before = np.empty_like(position)
    before[1:] = running_greatest(position, group)[:-1]
    before[starts] = front
    return np.maximum(before, front[group])


def running_greatest(numbers: Integers, group: Integers) -> Integers:
    """Return the greatest number of its group up to each place, (n,) int64.

    Args:
        numbers: (n,) those of a group beside each other.
        group: (n,) the number of each one's group, from 0 and rising.
    """
    # Ranks stand for numbers, so that one running maximum serves all groups without leaving int64.
    ordered, rank = np.unique(numbers, return_inverse=True)
    greatest = np.maximum.accumulate(rank + group * len(ordered)) - group * len(ordered)
    found: Integers = ordered[greatest] if len(ordered) else numbers
    return found


def _merged(held: Table, new: Table) -> Table:
    """Return one row for each pane of either; the new one's events came later."""
    panes = held.panes.followed_by(new.panes)
    order = np.lexsort((panes.pane, panes.slot))
    panes, samples = panes.take(order), np.concatenate([held.samples, new.samples])[order]
    starts = group_starts(panes.slot, panes.pane)
    if not len(starts):
        return Table(panes, samples)
    # Of a pane there are two rows at most.
    last = np.append(starts[1:], len(order)) - 1
    both = np.where(np.isnan(samples[last]), samples[starts], samples[last])
    return Table(combine(panes, starts), both)


def _in_ns(stamps: NDArray[np.generic]) -> Integers:
    doing = "Adding events"
    if stamps.dtype.kind == "f":
        if not bool(np.all(np.abs(stamps) <= MAX_TIME_NS / 1e9)):  # false for NaN
            message = (
                f"{doing}: a time is NaN or beyond {MAX_TIME_NS / 1e9:.0f} s. Check the unit of times, and the clock."
            )
            raise FeatureError(message)
        return np.rint(stamps.astype(np.float64) * 1e9).astype(np.int64)
    if stamps.dtype.kind not in "iu" and stamps.size:
        message = f"{doing}: times of type {stamps.dtype} found, expected int64 in ns or float64 in s."
        raise FeatureError(message)
    if stamps.size and (int(stamps.max()) > MAX_TIME_NS or int(stamps.min()) < -MAX_TIME_NS):
        message = f"{doing}: times from {stamps.min()} to {stamps.max()} ns found, at most {MAX_TIME_NS} expected."
        raise FeatureError(message)
    return stamps.astype(np.int64)
