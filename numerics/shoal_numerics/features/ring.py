"""Where panes are held between batches: a ring of rows for each entity, in arrays that grow with the entities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.features.panes import NEVER, Floats, Integers, Panes
from shoal_numerics.features.plan import WindowPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Table:
    """Panes, sorted by slot and pane, with the samples of each.

    Attributes:
        panes: r rows.
        samples: (r, samples of a pane, fields) float64 in order of time, NaN where there is none.
    """

    panes: Panes
    samples: Floats

    def take(self, rows: Integers | NDArray[np.bool_] | slice) -> Table:
        """Return some of the rows, in the order given."""
        return Table(self.panes.take(rows), self.samples[rows])


class PaneRing:
    """Rows of panes by slot; pane p of a slot stands in the ring's place `p % ring`.

    Args:
        plan: How many panes, fields and samples there are.
    """

    def __init__(self, plan: WindowPlan) -> None:
        self._ring = plan.ring
        self._fields = len(plan.fields)
        self._samples_of_pane = plan.samples
        self._panes = Panes.empty(0, self._fields)
        self._samples = np.zeros((0, plan.samples, self._fields))

    @property
    def slots(self) -> int:
        """Slots that there is room for."""
        return len(self._panes.slot) // self._ring

    def grow(self, slots: int) -> None:
        """Make room for so many slots."""
        rows = (slots - self.slots) * self._ring
        if rows > 0:
            self._panes = self._panes.followed_by(Panes.empty(rows, self._fields))
            more = np.full((rows, self._samples_of_pane, self._fields), np.nan)
            self._samples = np.concatenate([self._samples, more])

    def read(self, slots: Integers) -> Table:
        """Return the panes of some slots, sorted by slot and pane.

        Args:
            slots: (s,) increasing.
        """
        rows = self._rows(slots)
        rows = rows[self._panes.pane[rows] != NEVER]
        rows = rows[np.lexsort((self._panes.pane[rows], self._panes.slot[rows]))]
        return Table(self._panes.take(rows), self._samples[rows])

    def write(self, slots: Integers, table: Table) -> None:
        """Hold these panes, and no others, for some slots.

        Args:
            slots: (s,) the slots.
            table: Their panes; of one slot they lie within one ring.
        """
        self._panes.pane[self._rows(slots)] = NEVER
        rows = table.panes.slot * self._ring + table.panes.pane % self._ring
        self._panes.put(rows, table.panes)
        self._samples[rows] = table.samples

    def _rows(self, slots: Integers) -> Integers:
        rows: Integers = (slots[:, np.newaxis] * self._ring + np.arange(self._ring)).ravel()
        return rows
