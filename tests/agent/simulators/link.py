"""A link in memory with the methods of `shoal_agent.link.Link` that senders use, and a hub's view of what came."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from tests.agent.simulators.director import DEVICE

from shoal_agent.errors import LinkError
from shoal_contract import topics
from shoal_contract.ack import Ack, BlobAnswer
from shoal_contract.device_signature import SignedChannel
from shoal_contract.reported import Presence
from shoal_contract.trace_context import TraceContext


class MemoryLink:
    """Publishes into a list; `refuses` makes the next publications fail, `forbidden` all to these topics."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.traces: list[tuple[TraceContext, ...]] = []
        self.compact: list[bool] = []
        """Of each that was sent, whether it went in the compact form."""
        self.refuses = 0
        self.forbidden: set[str] = set()
        self.connection = 0
        self._up = anyio.Event()
        self._down = anyio.Event()
        self._news = anyio.Event()
        self._inboxes: dict[str, MemoryObjectSendStream[bytes]] = {}

    def connect(self) -> None:
        self.connection += 1
        self._down = anyio.Event()
        self._up.set()

    def disconnect(self) -> None:
        self._up = anyio.Event()
        self._down.set()

    @property
    def is_connected(self) -> bool:
        return self._up.is_set()

    async def wait_connected(self) -> int:
        await self._up.wait()
        return self.connection

    async def wait_disconnected(self) -> None:
        if self._up.is_set():
            await self._down.wait()

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,  # noqa: ARG002
        traces: Sequence[TraceContext] = (),
    ) -> None:
        await anyio.lowlevel.checkpoint()
        if topic in self.forbidden:
            raise LinkError(f"publishing to {topic}: not authorized")
        if not self._up.is_set() or self.refuses > 0:
            self.refuses -= 1
            raise LinkError("publishing: refused")
        self.sent.append((topic, payload))
        self.traces.append(tuple(traces))
        self.compact.append(False)
        self._news.set()

    async def say(
        self, channel: SignedChannel, message: bytes, *, retain: bool = False, traces: Sequence[TraceContext] = ()
    ) -> None:
        await self.publish(topics.up(DEVICE, channel), message, retain=retain, traces=traces)

    async def say_compact(self, channel: SignedChannel, message: bytes, *, traces: Sequence[TraceContext] = ()) -> None:
        await self.say(channel, message, traces=traces)
        self.compact[-1] = True

    @asynccontextmanager
    async def subscription(self, topic: str) -> AsyncIterator[MemoryObjectReceiveStream[bytes]]:
        send, receive = anyio.create_memory_object_stream[bytes](64)
        self._inboxes[topic] = send
        with send, receive:
            yield receive

    def presence(self, state: str) -> bytes:
        message = {"state": state, "connection": self.connection, "sequence": 0, "since": "2026-11-23T12:00:00Z"}
        message |= {"instance": "a" * 16}
        return Presence.model_validate(message).to_bytes()

    async def deliver(self, topic: str, payload: bytes) -> None:
        with anyio.fail_after(5):
            while topic not in self._inboxes:  # noqa: ASYNC110 - only until the reader has begun
                await anyio.sleep(0.001)
        await self._inboxes[topic].send(payload)

    async def acknowledge(
        self, stream: str, sequence: int, *, reads_compact: bool | None = None, **blobs: BlobAnswer
    ) -> None:
        ack = Ack(stream=stream, sequence=sequence, blobs=blobs, reads_compact=reads_compact)
        await self.deliver(topics.down_ack(DEVICE), ack.to_bytes())

    async def wait_for(self, count: int) -> list[tuple[str, bytes]]:
        """Wait until `count` messages have been sent in all."""
        with anyio.fail_after(5):
            while len(self.sent) < count:
                self._news = anyio.Event()
                await self._news.wait()
        return self.sent

    async def wait_for_outbox_messages(self, count: int) -> None:
        """Wait until `count` messages of the outbox have been sent in all, alone or several in one."""
        with anyio.fail_after(5):
            while len(self.outbox_messages()) < count:
                self._news = anyio.Event()
                await self._news.wait()

    def sequences(self) -> list[int]:
        """Return the outbox sequences as they were sent."""
        return [place["sequence"] for place, _ in self.outbox_messages()]

    def outbox_messages(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return each message of the outbox with its place, as they were sent, whether alone or several in one."""
        sent = [json.loads(payload) for topic, payload in self.sent if not topic.endswith("blob")]
        return [one for message in sent for one in _placed(message)]


def _placed(message: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    if "generation" in message:  # a reported state, which may carry some
        return _placed(message["carried"]) if "carried" in message else []
    place: dict[str, Any] = message.get("outbox") or message["body"]["outbox"]
    if "messages" not in message:
        return [(place, message)]
    first = place["sequence"]
    return [({**place, "sequence": first + index}, one) for index, one in enumerate(message["messages"])]
