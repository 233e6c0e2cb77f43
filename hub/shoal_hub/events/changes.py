"""Tells readers inside this process that something changed: the source of the server-sent events.

What changed is told by a word ("devices", "rollouts", …); a reader looks again by itself, so a word may be lost.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class Subscription:
    """One reader's pending words; a word that is pending already is not kept twice."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending: set[str] = set()
        self._ready = asyncio.Event()

    def add(self, what: frozenset[str]) -> None:
        """Take note of words, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._add, what)

    def _add(self, what: frozenset[str]) -> None:
        self._pending |= what
        self._ready.set()

    async def take(self, timeout_s: float) -> frozenset[str]:
        """Return what is pending, or wait for it; empty after `timeout_s`."""
        try:
            await asyncio.wait_for(self._ready.wait(), timeout_s)
        except TimeoutError:
            return frozenset()
        what = frozenset(self._pending)
        self._pending.clear()
        self._ready.clear()
        return what


class ChangeFeed:
    """Hands every word to every subscription; safe to call from any thread."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._lock = threading.Lock()

    def tell(self, what: Iterable[str]) -> None:
        """Tell every reader that `what` changed."""
        words = frozenset(what)
        with self._lock:
            for subscription in self._subscriptions:
                subscription.add(words)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """Open a subscription for the length of the block."""
        subscription = Subscription()
        with self._lock:
            self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions.discard(subscription)
