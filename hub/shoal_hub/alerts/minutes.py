"""What the windows of each past minute come to, remembered, so that each minute is gone through once.

A stretch of hours is the sum of what is remembered of its minutes. Minutes are of the time at which the hub took the
windows in, so that a device's clock has no part in it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, NamedTuple, Protocol, Self, TypeVar

from sqlmodel import Session

SLICE_S: Final = 60
_OPEN_SLICES: Final = 2
"""So many of the last slices are read again: what is committed now may have been taken in a moment ago."""
READ_AT_ONCE: Final = 10
"""Past slices that one look reads: a hub that starts works its way back over some looks, and holds up nobody."""
MOST_SLICES: Final = 24 * 60 + 2
"""Of who looks back for a day."""


class Place(NamedTuple):
    """Where windows come from: what serves them, and the device group."""

    model: str
    version: int
    group: str


class _Summable(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


_Sum = TypeVar("_Sum", bound=_Summable)
Read = Callable[[Session, datetime, datetime], Mapping[Place, _Sum]]
"""Reads what came from one time until another."""


class MinuteTallies(Generic[_Sum]):
    """Remembers what the windows of past minutes come to.

    Args:
        read: Reads a minute.
        most_slices: Past minutes that are remembered; more than the longest stretch that is asked for has.
        at_once: Past minutes that one look reads.
    """

    def __init__(self, read: Read[_Sum], most_slices: int = MOST_SLICES, at_once: int = READ_AT_ONCE) -> None:
        self._read_slice = read
        self._most_slices = most_slices
        self._is_whole = True
        self._at_once = at_once
        self._slices: dict[int, Mapping[Place, _Sum]] = {}
        self._open: dict[int, Mapping[Place, _Sum]] = {}
        self._left = self._at_once
        self._seen_until = 0

    def begin_look(self) -> None:
        """Have the last minutes read again, once for all rules, and some more of the past ones."""
        self._open.clear()
        self._left = self._at_once

    @property
    def is_whole(self) -> bool:
        """Whether all minutes that the last sum is of have been read."""
        return self._is_whole

    def over(self, session: Session, since: datetime, until: datetime) -> dict[Place, _Sum]:
        """Return what came from one time to another, in whole minutes; of a past not read yet, what was read until now.

        Args:
            session: An open session.
            since: The first minute.
            until: The clock.
        """
        first, last = int(since.timestamp()) // SLICE_S, int(until.timestamp()) // SLICE_S
        if last < self._seen_until:  # the clock went back: minutes that were over come again
            self._slices.clear()
            self._open.clear()
        self._seen_until = last
        self._is_whole = True
        sums: dict[Place, _Sum] = {}
        for number in range(last, first - 1, -1):
            for place, counts in self._slice(session, number, is_over=number <= last - _OPEN_SLICES).items():
                sums[place] = sums[place] + counts if place in sums else counts
        return sums

    def _slice(self, session: Session, number: int, *, is_over: bool) -> Mapping[Place, _Sum]:
        known = self._slices.get(number, self._open.get(number))
        if known is not None:
            return known
        if not is_over:
            self._open[number] = self._read(session, number)
            return self._open[number]
        if not self._left:
            self._is_whole = False
            return {}
        self._left -= 1
        self._slices[number] = found = self._read(session, number)
        while len(self._slices) > self._most_slices:
            del self._slices[min(self._slices)]
        return found

    def _read(self, session: Session, number: int) -> Mapping[Place, _Sum]:
        start = datetime.fromtimestamp(number * SLICE_S, UTC)
        return self._read_slice(session, start, start + timedelta(seconds=SLICE_S))
