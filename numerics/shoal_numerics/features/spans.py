"""Windows as stretches of a table of panes: which have closed, and what is in each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from shoal_numerics.features.panes import Integers, Panes, combine, joined

_FEW: Final = 2
"""Windows that overlap more often than this are combined by doubling."""


class Spans(NamedTuple):
    """Windows over a table, each a stretch of its rows.

    Attributes:
        first: (w,) int64, the first row.
        last: (w,) int64, the last row, which is in the window.
        end: (w,) int64, the pane with which the window ends; the pane of its last row, or a later and empty one.
    """

    first: Integers
    last: Integers
    end: Integers

    def in_parts(self, most_rows: int) -> Iterator[Spans]:
        """Yield the windows in turn, so many at a time that they have at most `most_rows` rows, or one window."""
        sums = np.cumsum(self.last - self.first + 1)
        start = 0
        while start < len(self.first):
            before = sums[start - 1] if start else 0
            stop = max(int(np.searchsorted(sums, before + most_rows, side="right")), start + 1)
            yield Spans(*(column[start:stop] for column in self))
            start = stop

    def rows(self) -> tuple[Integers, Integers]:
        """Return the rows of all windows one after the other, and where each window begins among them."""
        lengths = self.last - self.first + 1
        starts = np.cumsum(lengths) - lengths
        return np.arange(int(lengths.sum())) + np.repeat(self.first - starts, lengths), starts


def closed_windows(table: Panes, panes: int, closed_before: Integers, closed_after: Integers) -> Spans:
    """Return the windows that have closed and hold an event, in order of slot and time.

    Args:
        table: Sorted, each pane once; all panes of a window that are not empty are in it.
        panes: Panes of a window.
        closed_before: (r,) for the slot of each row: windows that end before this pane have been given out.
        closed_after: (r,) windows that end before this pane are closed.
    """
    if not len(table.slot):
        nothing = np.zeros(0, dtype=np.int64)
        return Spans(nothing, nothing, nothing)
    is_same = np.append(table.slot[1:] == table.slot[:-1], [False])
    following = np.append(table.pane[1:], [0])
    # A window belongs to the last row in it: it ends before that of the next row, and before this row has left it.
    until = np.minimum(closed_after, table.pane + panes)
    until = np.where(is_same, np.minimum(until, following), until)
    since = np.maximum(table.pane, closed_before)
    each = np.maximum(until - since, 0)
    last = np.repeat(np.arange(len(each)), each)
    end = since[last] + np.arange(len(last)) - (np.cumsum(each) - each)[last]
    # Distances between rows, those too far apart for one window cut short, so that they add up without overflow.
    steps = np.where(is_same[:-1], np.minimum(np.diff(table.pane), panes), 2 * panes)
    place = np.concatenate([[0], np.cumsum(steps)])
    first = np.searchsorted(place, place[last] + (end - table.pane[last]) - panes + 1)
    return Spans(first, last, end)


def combine_spans(table: Panes, spans: Spans) -> Panes:
    """Return what is in each window, one row each.

    Windows that overlap little combine their rows. Of others, stretches of 1, 2, 4 and more rows are combined once for
    all, and each window takes those of its length in binary, so that a window of k panes costs log k rows.

    Args:
        table: Sorted, each pane once.
        spans: One window at least.
    """
    lengths = spans.last - spans.first + 1
    start, stop = int(spans.first.min()), int(spans.last.max()) + 1
    if int(lengths.sum()) <= _FEW * (stop - start):
        rows, starts = spans.rows()
        return combine(table.take(rows), starts)
    return _by_doubling(table.take(slice(start, stop)), spans.first - start, lengths)


def _by_doubling(rows: Panes, first: Integers, lengths: Integers) -> Panes:
    """Combine stretches of rows that begin at `first`."""
    found = Panes.empty(len(first), rows.mean.shape[1])
    place, size, longest = first.copy(), 1, int(lengths.max())
    while True:
        taking = np.flatnonzero(lengths & size)
        found.put(taking, joined(found.take(taking), rows.take(place[taking])))
        place[taking] += size
        if 2 * size > longest:
            return found
        rows = joined(rows.take(slice(None, -size)), rows.take(slice(size, None)))
        size *= 2
