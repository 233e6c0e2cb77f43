"""A bounded queue from threads to a task of the event loop: who is too slow loses the oldest, and it is counted."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """Items that wait. They are put in from any thread, and taken out in the event loop that made it.

    Args:
        most: Items that may wait; one more drops the oldest.

    Attributes:
        put_in: Items that have come.
        dropped: Items that were never taken out.
    """

    def __init__(self, most: int) -> None:
        self._items: deque[Item] = deque()
        self._most = most
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._has_some = asyncio.Event()
        self._is_told = False
        self.put_in = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_half_full(self) -> bool:
        """Whether who can wait should."""
        return 2 * len(self._items) >= self._most

    def put(self, items: Iterable[Item]) -> int:
        """Let items wait; return how many older ones were dropped for them."""
        with self._lock:
            before = len(self._items)
            self._items.extend(items)
            self.put_in += len(self._items) - before
            surplus = max(len(self._items) - self._most, 0)
            for _ in range(surplus):
                self._items.popleft()
            self.dropped += surplus
            has_to_tell, self._is_told = bool(self._items) and not self._is_told, bool(self._items)
        if has_to_tell:
            self._tell()
        return surplus

    def put_back(self, items: list[Item]) -> None:
        """Let items wait again that were taken out last, in their place, as far as there is room for them."""
        with self._lock:
            room = max(self._most - len(self._items), 0)
            kept = items[len(items) - room :] if room < len(items) else items
            self.dropped += len(items) - len(kept)
            self._items.extendleft(reversed(kept))
            self._is_told = bool(self._items)
        self._tell()

    async def take(self, most: int) -> list[Item]:
        """Wait until there are items, and take up to `most` of them out, the oldest first."""
        while True:
            await self._has_some.wait()
            with self._lock:
                taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
                if not self._items:
                    self._is_told = False
                    self._has_some.clear()
            if taken:
                return taken

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._notice)
        except RuntimeError:  # the agent stops, and its event loop has ended
            return

    def _notice(self) -> None:
        with self._lock:
            if self._items:
                self._has_some.set()
