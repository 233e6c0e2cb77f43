"""Whose files are fetched first, where several models wait: the highest priority; equals go side by side.

A way back that has to fetch waits for nobody, and has the link to itself.
"""

import math
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


class _StoppableLimit:
    """A time limit that can be stopped, and goes on with what was left of it."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._left_s: float | None = None

    def stop(self) -> None:
        """Let no more time pass. What has run out already has, whatever comes before the block ends."""
        if self._left_s is None and not self._scope.cancel_called:
            self._left_s = self._scope.deadline - anyio.current_time()
            self._scope.deadline = math.inf

    def go_on(self) -> None:
        """Let time pass again."""
        if self._left_s is not None:
            self._scope.deadline = anyio.current_time() + self._left_s
            self._left_s = None


class RightOfWay:
    """Transfers that are urgent, for which the others stop between two chunks, and their time with them."""

    def __init__(self) -> None:
        self._urgent = 0
        self._over = anyio.Event()
        self._limited: list[_StoppableLimit] = []

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have the others stop for the length of the block."""
        self._urgent += 1
        for one in self._limited:
            one.stop()
        try:
            yield
        finally:
            self._urgent -= 1
            for one in [] if self._urgent else self._limited:
                one.go_on()
            over, self._over = self._over, anyio.Event()
            over.set()

    @contextmanager
    def within(self, limit_s: float | None) -> Iterator[None]:
        """Limit the time of a block that gives way: it stands still while something urgent is on its way.

        Raises:
            TimeoutError: The block took longer.
        """
        with anyio.fail_after(limit_s) as scope:
            one = _StoppableLimit(scope)
            if self._urgent:
                one.stop()
            self._limited.append(one)
            try:
                yield
            finally:
                self._limited.remove(one)

    async def give(self) -> None:
        """Wait until nothing urgent is on its way."""
        while self._urgent:
            await self._over.wait()
