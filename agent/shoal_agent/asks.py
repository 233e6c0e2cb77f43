"""What the link asks the broker for: topics asked for in one moment go in one packet, and so do those that are left.

Each packet costs the broker, the device and the air about as much for eight topics as for one.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_LEAVE_S: Final = 0.05
"""How long a topic that is left waits for others. Nothing comes on it but what is published meanwhile."""
MOST_TOPICS: Final = 32
"""Topics that one packet names."""


class Asks:
    """Subscriptions that are to be begun and ended. All methods are called in the event loop.

    Args:
        subscribe: Begins them; given the quality of service by topic.
        unsubscribe: Ends them.
    """

    def __init__(
        self, subscribe: Callable[[Mapping[str, int]], None], unsubscribe: Callable[[Sequence[str]], None]
    ) -> None:
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._begun: dict[str, int] = {}
        self._left: dict[str, None] = {}
        self._timer: asyncio.Handle | None = None

    def begin(self, wanted: Mapping[str, int]) -> None:
        """Subscribe to topics as soon as the event loop has its turn, together with others."""
        for topic in wanted:
            self._left.pop(topic, None)
        self._begun.update(wanted)
        if wanted:
            self._send_soon(0.0)

    def end(self, topic: str) -> None:
        """Leave a topic soon, together with others."""
        self._begun.pop(topic, None)
        self._left[topic] = None
        self._send_soon(0.0 if len(self._left) >= MOST_TOPICS else _LEAVE_S)

    def forget(self) -> None:
        """The connection has ended, and with it all subscriptions."""
        self._begun.clear()
        self._left.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send_soon(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        if delay_s and self._timer is not None:
            return  # it goes with what is waited for already, which is no later
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self._send) if delay_s else loop.call_soon(self._send)

    def _send(self) -> None:
        self._timer = None
        left, self._left = list(self._left), {}
        begun, self._begun = list(self._begun.items()), {}
        for start in range(0, len(left), MOST_TOPICS):
            self._unsubscribe(left[start : start + MOST_TOPICS])
        for start in range(0, len(begun), MOST_TOPICS):
            self._subscribe(dict(begun[start : start + MOST_TOPICS]))
