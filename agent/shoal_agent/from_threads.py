"""Work that threads hand to one task of the event loop: bounded, and one more is refused, so that no thread waits."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, NoReturn, TypeVar

import anyio

Item = TypeVar("Item")


class FromThreads(Generic[Item]):
    """What waits for the task. What is put in before `each` runs waits for that.

    Args:
        most: Items that may wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Item] = deque()
        self._wake: Callable[[], object] = lambda: None

    @property
    def is_full(self) -> bool:
        """Whether one more would be refused."""
        return len(self._waiting) >= self._most

    def put(self, item: Item) -> bool:
        """Let an item wait, from any thread; return whether there was room for it."""
        if self.is_full:
            return False
        self._waiting.append(item)
        try:
            self._wake()
        except RuntimeError:  # the agent stops, and its event loop has ended
            return False
        return True

    async def each(self, work: Callable[[Item], Awaitable[object]]) -> NoReturn:
        """Work on what waits, one after the other, for ever."""
        loop, news = asyncio.get_running_loop(), anyio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(lambda: news.set())  # noqa: PLW0108 - the one of that moment
        while True:
            news = anyio.Event()
            while self._waiting:
                await work(self._waiting.popleft())
            await news.wait()
