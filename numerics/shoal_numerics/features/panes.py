"""Partial aggregates of panes, as one table, and how rows of it combine: events to panes, panes to windows.

Moments combine by Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances" (1979), generalised to any number of parts. Counts, extremes and last values combine exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Integers: TypeAlias = "NDArray[np.int64]"
Floats: TypeAlias = "NDArray[np.float64]"
NEVER: Final = -(2**63)  # of int64
"""The position of a value that there is not."""
_NO_TIME: Final = 2**63 - 1
MAX_VALUE: Final = 1e150
"""A larger value counts as missing: its square would leave float64."""


class Panes(NamedTuple):
    """Rows of partial aggregates of r panes and c fields, sorted by `slot` and `pane` where they are a table.

    Attributes:
        slot: (r,) int64, the entity's place.
        pane: (r,) int64, the position of its events over the length of a pane, rounded down.
        events: (r,) int64, at least 1.
        first_ns: (r,) int64, the earliest time of an event.
        last_ns: (r,) int64, the latest.
        present: (r, c) int64, values that are not missing.
        mean: (r, c) float64; 0 where there is none.
        m2: (r, c) float64, the sum of squared deviations from the mean.
        low: (r, c) float64; infinity where there is none.
        high: (r, c) float64; minus infinity where there is none.
        last: (r, c) float64, the value at `last_at`.
        last_at: (r, c) int64, the greatest position of a value, `NEVER` where there is none.
    """

    slot: Integers
    pane: Integers
    events: Integers
    first_ns: Integers
    last_ns: Integers
    present: Integers
    mean: Floats
    m2: Floats
    low: Floats
    high: Floats
    last: Floats
    last_at: Integers

    @classmethod
    def empty(cls, rows: int, fields: int) -> Panes:
        """Return a table of rows without events, which belong to no pane: their `pane` is `NEVER`."""
        integers = (rows,)
        cells = (rows, fields)
        return cls(
            slot=np.zeros(integers, dtype=np.int64),
            pane=np.full(integers, NEVER, dtype=np.int64),
            events=np.zeros(integers, dtype=np.int64),
            first_ns=np.full(integers, _NO_TIME, dtype=np.int64),
            last_ns=np.full(integers, NEVER, dtype=np.int64),
            present=np.zeros(cells, dtype=np.int64),
            mean=np.zeros(cells),
            m2=np.zeros(cells),
            low=np.full(cells, np.inf),
            high=np.full(cells, -np.inf),
            last=np.zeros(cells),
            last_at=np.full(cells, NEVER, dtype=np.int64),
        )

    @classmethod
    def of_events(cls, slot: Integers, pane: Integers, position: Integers, times_ns: Integers, values: Floats) -> Panes:
        """Return one row for each event.

        Args:
            slot: (n,) places of the entities.
            pane: (n,) panes.
            position: (n,) positions: times in ns, or numbers of events.
            times_ns: (n,) times.
            values: (n, c); NaN, infinity and what lies beyond `MAX_VALUE` is missing.
        """
        is_there = np.abs(values) <= MAX_VALUE  # false for NaN
        numbers = np.where(is_there, values, 0.0)
        return cls(
            slot=slot,
            pane=pane,
            events=np.ones(len(slot), dtype=np.int64),
            first_ns=times_ns,
            last_ns=times_ns,
            present=is_there.astype(np.int64),
            mean=numbers,
            m2=np.zeros_like(numbers),
            low=np.where(is_there, values, np.inf),
            high=np.where(is_there, values, -np.inf),
            last=numbers,
            last_at=np.where(is_there, position[:, np.newaxis], NEVER),
        )

    def take(self, rows: Integers | NDArray[np.bool_] | slice) -> Panes:
        """Return some of the rows, in the order given."""
        return Panes._make(column[rows] for column in self)

    def put(self, rows: Integers, panes: Panes) -> None:
        """Write rows of another table over rows of this one."""
        for mine, theirs in zip(self, panes, strict=True):
            mine[rows] = theirs

    def followed_by(self, other: Panes) -> Panes:
        """Return both tables' rows, one after the other."""
        return Panes._make(np.concatenate(pair) for pair in zip(self, other, strict=True))


def group_starts(*keys: Integers) -> Integers:
    """Return where groups of equal neighbours begin, (groups,) int64.

    Args:
        keys: Arrays (r,); rows are of one group if all keys are equal.
    """
    if not len(keys[0]):
        return np.zeros(0, dtype=np.int64)
    differs = np.logical_or.reduce([np.diff(key) != 0 for key in keys])
    return np.concatenate([[0], np.flatnonzero(differs) + 1]).astype(np.int64)


def combine(rows: Panes, starts: Integers) -> Panes:
    """Combine groups of rows to one row each.

    Args:
        rows: Rows, those of a group beside each other; of rows with equal positions the later one gives the last value.
        starts: (groups,) where groups begin: 0 first, increasing.

    Returns:
        One row for each group, with slot and pane of its last row.
    """
    total = len(rows.slot)
    if len(starts) == total:  # each row alone
        return rows
    stops = np.append(starts[1:], total)
    group = np.repeat(np.arange(len(starts)), stops - starts)
    present = np.add.reduceat(rows.present, starts)
    mean = np.add.reduceat(rows.present * rows.mean, starts) / np.maximum(present, 1)
    shift = rows.mean - mean[group]
    last, last_at = _latest(rows, starts, group)
    return Panes(
        slot=rows.slot[stops - 1],
        pane=rows.pane[stops - 1],
        events=np.add.reduceat(rows.events, starts),
        first_ns=np.minimum.reduceat(rows.first_ns, starts),
        last_ns=np.maximum.reduceat(rows.last_ns, starts),
        present=present,
        mean=mean,
        m2=np.add.reduceat(rows.m2 + rows.present * shift * shift, starts),
        low=np.minimum.reduceat(rows.low, starts),
        high=np.maximum.reduceat(rows.high, starts),
        last=last,
        last_at=last_at,
    )


def _latest(rows: Panes, starts: Integers, group: Integers) -> tuple[Floats, Integers]:
    """Return `last` and `last_at` of groups."""
    last_at = np.maximum.reduceat(rows.last_at, starts)
    is_newest = rows.last_at == last_at[group]
    row = np.maximum.reduceat(np.where(is_newest, np.arange(len(group))[:, np.newaxis], -1), starts)
    return rows.last[row, np.arange(row.shape[1])], last_at


def joined(earlier: Panes, later: Panes) -> Panes:
    """Return pairs of rows of two tables combined, row by row, with slot and pane of the later ones."""
    present = earlier.present + later.present
    share = later.present / np.maximum(present, 1)
    shift = later.mean - earlier.mean
    return Panes(
        slot=later.slot,
        pane=later.pane,
        events=earlier.events + later.events,
        first_ns=np.minimum(earlier.first_ns, later.first_ns),
        last_ns=np.maximum(earlier.last_ns, later.last_ns),
        present=present,
        mean=earlier.mean + shift * share,
        m2=earlier.m2 + later.m2 + shift * shift * earlier.present * share,
        low=np.minimum(earlier.low, later.low),
        high=np.maximum(earlier.high, later.high),
        last=np.where(later.last_at >= earlier.last_at, later.last, earlier.last),
        last_at=np.maximum(earlier.last_at, later.last_at),
    )
