"""Which entity has which slot, how far each has come, and which one gives way when there are too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from shoal_numerics.features.panes import Integers

BEGINNING: Final = -(1 << 62)
"""The front of an entity of which there is no event, and a pane before all others."""
_NOBODY: Final = 2**63 - 1  # of int64


class Admitted(NamedTuple):
    """A part of a batch whose entities all have a slot.

    Attributes:
        part: Which events.
        void: Slots that were taken from other entities for it, whose panes are void.
    """

    part: slice
    void: list[int]


class Entities:
    """Slots of entities, at most `most` at a time.

    Attributes:
        names: The entity of each slot; of a free one whatever it was.
        front: (slots,) int64: the latest time of an event, or the number of events.
        closed: (slots,) int64: windows that end before this pane have been given out.
        seen: (slots,) int64: the number of the last event, counted over all entities.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self.names: list[str] = []
        self.front = np.zeros(0, dtype=np.int64)
        self.closed = np.zeros(0, dtype=np.int64)
        self.seen = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, name: str) -> bool:
        return name in self._slots

    def live(self) -> Integers:
        """Return the slots that are taken, increasing."""
        return np.array(sorted(self._slots.values()), dtype=np.int64)

    def slots_of(self, names: Sequence[str]) -> Integers:
        """Return the slots of entities that have one, (n,) int64."""
        return np.fromiter(map(self._slots.__getitem__, names), dtype=np.int64, count=len(names))

    def admitted(self, names: Sequence[str]) -> Iterator[Admitted]:
        """Give each event's entity a slot, part by part; who has been silent longest gives way where there is no room.

        The events of a part have to be taken before the next one is asked for: an entity gives way when the first event
        of another one comes, and not sooner.
        """
        start = 0
        while start < len(names):
            void = [self._evict()] if names[start] not in self._slots and len(self._slots) >= self._most else []
            stop = start + self._welcome(names[start:])
            yield Admitted(slice(start, stop), void)
            start = stop

    def _welcome(self, names: Sequence[str]) -> int:
        """Give slots to entities in the order of their events; return before which event there is no room."""
        for name in dict.fromkeys(names):
            if name in self._slots:
                continue
            if len(self._slots) >= self._most:
                return names.index(name)
            if not self._free:
                self._grow()
            slot = self._free.pop()
            self._slots[name] = slot
            self.names[slot] = name
            self.front[slot] = self.closed[slot] = BEGINNING
        return len(names)

    def _evict(self) -> int:
        slot = int(np.argmin(self.seen))
        del self._slots[self.names[slot]]
        self._free.append(slot)
        self.seen[slot] = _NOBODY
        return slot

    def _grow(self) -> None:
        have = len(self.names)
        more = min(max(have, 16), self._most - have)
        self._free += range(have + more - 1, have - 1, -1)
        self.names += [""] * more
        self.front = np.concatenate([self.front, np.full(more, BEGINNING)])
        self.closed = np.concatenate([self.closed, np.full(more, BEGINNING)])
        self.seen = np.concatenate([self.seen, np.full(more, _NOBODY)])
