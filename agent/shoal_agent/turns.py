"""Whose files are fetched first, where several models wait: the highest priority; equals go side by side.

A way back that has to fetch waits for nobody, and has the link to itself.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import anyio

from shoal_contract.update_policy import MAX_PRIORITY

WAY_BACK: Final = MAX_PRIORITY + 1
"""Of a rollback that has to fetch: no policy asks for more."""


class Turns:
    """The models that fetch or wait to. A transfer that runs goes on when a more urgent one comes; the next waits."""

    def __init__(self) -> None:
        self._there: Counter[int] = Counter()
        self._changed = anyio.Event()

    @asynccontextmanager
    async def take(self, priority: int) -> AsyncIterator[None]:
        """Wait until nobody more urgent is there, then hold a turn for the length of the block."""
        self._there[priority] += 1
        try:
            while max(self._there.elements()) > priority:
                await self._changed.wait()
            yield
        finally:
            self._there[priority] -= 1
            changed, self._changed = self._changed, anyio.Event()
            changed.set()


class RightOfWay:
    """Transfers that are urgent, for which the others stop between two chunks."""

    def __init__(self) -> None:
        self._urgent = 0
        self._over = anyio.Event()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have the others stop for the length of the block."""
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1
            over, self._over = self._over, anyio.Event()
            over.set()

    async def give(self) -> None:
        """Wait until nothing urgent is on its way."""
        while self._urgent:
            await self._over.wait()
