"""Where the link's messages wait for their readers: bounded twice, as a broker may send faster than anybody reads."""

from collections.abc import Callable
from logging import getLogger
from typing import NamedTuple

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

_log = getLogger(__name__)


class _Inbox(NamedTuple):
    """The two ends of one topic's messages, and the quality of service to ask for."""

    send: MemoryObjectSendStream[bytes]
    receive: MemoryObjectReceiveStream[bytes]
    qos: int


class Inboxes:
    """An inbox for each topic that somebody reads.

    Args:
        most: Messages of a topic that may wait for their reader, and messages of all that may wait for the event loop.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inboxes: dict[str, _Inbox] = {}
        self._handed_over = 0  # counted by paho's thread alone
        self._delivered = 0  # counted by the event loop alone
        self._is_dropping = False

    def open(self, topic: str, qos: int) -> MemoryObjectReceiveStream[bytes]:
        """Begin to keep what arrives on a topic, and return where it can be read."""
        inbox = _Inbox(*anyio.create_memory_object_stream[bytes](self._most), qos)
        self._inboxes[topic] = inbox
        return inbox.receive

    def close(self, topic: str) -> None:
        """Keep nothing of a topic any more."""
        inbox = self._inboxes.pop(topic)
        inbox.send.close()
        inbox.receive.close()

    def wanted(self) -> dict[str, int]:
        """Return the quality of service to subscribe to each topic with."""
        return {topic: inbox.qos for topic, inbox in self._inboxes.items()}

    def hand_over(self, call: Callable[..., object], topic: str, payload: bytes) -> None:
        """Give a message to the event loop; called in paho's thread, which must not wait. Too many are dropped.

        Args:
            call: Calls a function in the event loop, later.
            topic: The message's.
            payload: The message.
        """
        waiting = self._handed_over - self._delivered
        if waiting >= self._most:
            if not self._is_dropping:  # once a flood, so that the log is not flooded instead
                _log.warning("link: %d messages wait for the agent; more, as on %s, are dropped", waiting, topic)
            self._is_dropping = True
            return
        self._is_dropping = False
        self._handed_over += 1
        call(self._deliver, topic, payload)

    def _deliver(self, topic: str, payload: bytes) -> None:
        self._delivered += 1
        inbox = self._inboxes.get(topic)
        if inbox is None:
            return
        if inbox.send.statistics().current_buffer_used >= self._most:
            inbox.receive.receive_nowait()
            _log.warning("link: %d messages wait on %s; the oldest is dropped", self._most, topic)
        inbox.send.send_nowait(payload)
