"""Sessions: windows of events of one entity that follow each other sooner than a gap.

A session is over once an event of its entity, or `advance`, is the gap and the lateness beyond its last event. An event
that is further behind the latest one than the lateness is late, counted and dropped; so no event that counts could have
prolonged a session that has left, and order within the lateness changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.features.panes import Integers, Panes, combine, group_starts
from shoal_numerics.features.ring import Table
from shoal_numerics.features.spans import Spans
from shoal_numerics.features.values import bounds_of, feature_values
from shoal_numerics.features.windows import FeatureWindows, WindowRows, running_greatest

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SessionWindows(FeatureWindows):
    """The sessions of one definition; else as `FeatureWindows`.

    Open sessions are rows of partial aggregates. The pane of one is the time of its last event over the gap: sessions
    of an entity end a gap apart at least, so each has a place of its own in the ring.
    """

    def _step_of(self, position: Integers) -> Integers:
        return position

    def _bound(self, front: Integers) -> Integers:
        bound: Integers = front - self.plan.lateness
        return bound

    def _with_new(
        self,
        touched: Integers,
        slots: Integers,
        position: Integers,
        times_ns: Integers,
        values: NDArray[np.float64],
    ) -> Table:
        """Return the open sessions of entities with new events in them, in order of time."""
        events = Panes.of_events(slots, position // self.plan.pane, position, times_ns, values)
        self.counts.taken += len(slots)
        self.counts.missing += values.size - int(events.present.sum())
        rows = self.ring.read(touched).panes.followed_by(events)
        rows = rows.take(np.lexsort((rows.first_ns, rows.slot)))  # stable: what came later stays behind
        merged = combine(rows, self._begins(rows))
        merged = merged._replace(pane=merged.last_ns // self.plan.pane)
        return Table(merged, np.zeros((len(merged.slot), 0, len(self.plan.fields))))

    def _begins(self, rows: Panes) -> Integers:
        """Return with which rows sessions begin."""
        starts = group_starts(rows.slot)
        if not len(starts):
            return starts
        group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(rows.slot))))
        # The latest event before a row may stand in an earlier one: a session may span events that came after it.
        until = running_greatest(rows.last_ns, group)
        is_begin = np.ones(len(rows.slot), dtype=np.bool_)
        is_begin[1:] = (group[1:] != group[:-1]) | (rows.first_ns[1:] - until[:-1] >= self.plan.pane)
        return np.flatnonzero(is_begin)

    def _settle(self, touched: Integers, table: Table) -> WindowRows:
        """Let sessions go that are over, and hold the others."""
        after = np.maximum(self.entities.closed[touched], self._bound(self.entities.front[touched]))
        self.entities.closed[touched] = after
        of_row = after[np.searchsorted(touched, table.panes.slot)]
        is_over = table.panes.last_ns + self.plan.pane <= of_row
        self.ring.write(touched, table.take(~is_over))
        over = table.panes.take(is_over)
        place = np.arange(len(over.slot))
        bounds = bounds_of(self.plan, over, over.pane)
        values = feature_values(self.plan, over, bounds, table, Spans(place, place, over.pane))
        self.counts.windows += len(over.slot)
        return WindowRows([self.entities.names[slot] for slot in over.slot.tolist()], *bounds, over.events, values)
