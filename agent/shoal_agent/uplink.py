"""Empties the outbox: sends in order, a window at a time, and drops only what the hub says it has committed.

What another message will soon follow lingers, so that several travel in one. What the hub has to act on goes at once,
and takes along what waits before it. A reported state that is about to go takes along events that wait. A hub that
seems not to hear several in one, or what a report carries, an older one, gets them one by one, or by themselves.
Windows go in the compact form once the hub has said that it reads it, and in JSON again if it seems not to.
"""

import math
import time
from collections.abc import Sequence
from logging import getLogger
from typing import Final

import anyio

from shoal_agent.errors import DiskError, LinkError
from shoal_agent.link import Link
from shoal_agent.outbox import Outbox, Queued
from shoal_agent.outbox_batches import sealed, split
from shoal_agent.settings import OutboxSettings
from shoal_agent.traces import Traces
from shoal_agent.uploads import Uploads
from shoal_contract import topics
from shoal_contract.ack import Ack
from shoal_contract.device_signature import SignedChannel
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_REPORT_BYTES
from shoal_contract.telemetry import OutboxPosition
from shoal_contract.trace_context import TraceContext
from shoal_contract.wire import parse_message

_log = getLogger(__name__)
_MAX_SILENCES: Final = 2
"""Batches that are sent again for want of an acknowledgement, before messages are sent one by one."""

_COMPACT: Final[frozenset[SignedChannel]] = frozenset({"telemetry", "windows"})
"""What is large enough that the compact form tells; zstd has packed its counts already."""


class Uplink:
    """Sends the outbox's messages and takes the hub's acknowledgements."""

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        uploads: Uploads,
        device_id: str,
        settings: OutboxSettings,
        traces: Traces | None = None,
    ) -> None:
        self._traces = traces or Traces()
        self.carried: tuple[TraceContext, ...] = ()
        """What the events follow from that `carry` has handed over last."""
        self._link = link
        self._outbox = outbox
        self._uploads = uploads
        self._device_id = device_id
        self._settings = settings
        self._wake = anyio.Event()
        self._acknowledged = outbox.acknowledged()
        self._connection = 0
        self._sent = 0
        """The last sequence sent on the present connection."""
        self._due_s = 0.0
        self._is_full = False
        self._is_sending = False
        self._has_batched = False
        self._silences = 0
        self._has_carried = False
        self._may_carry = True
        self._has_compacted = False
        self._may_compact = False
        """Whether the hub has said on this connection that it reads the compact form."""

    async def send(self) -> None:
        """Send what waits, for ever; what is not acknowledged in time is sent again from the oldest."""
        delay_s, deadline_s = self._settings.resend_min_s, 0.0
        while True:
            current = await self._link.wait_connected()
            before, self._wake = self._acknowledged, anyio.Event()
            if current != self._connection:
                self._begin(current)
                deadline_s = time.monotonic() + delay_s
            self._sent = max(self._sent, before)
            if self._is_full or time.monotonic() >= self._due_s:
                await self._send_window()
            lingers = self._sent <= self._acknowledged and self._due_s < math.inf
            # Sent and not acknowledged, or not sent as the link refused it:
            waits = self._outbox.depth() > 0 and not lingers
            await self._wait(deadline_s if waits else math.inf)
            if self._acknowledged > before or not waits:
                delay_s = self._settings.resend_min_s
                deadline_s = time.monotonic() + delay_s
            elif time.monotonic() >= deadline_s:
                self._note_silence()
                self._sent, delay_s = self._acknowledged, min(2 * delay_s, self._settings.resend_max_s)
                deadline_s, self._due_s = time.monotonic() + delay_s, 0.0

    async def notice_connections(self) -> None:
        """Wake the sender at each new connection, for ever."""
        while True:
            await self._link.wait_connected()
            self._wake.set()
            await self._link.wait_disconnected()

    async def take_acknowledgements(self) -> None:
        """Act on what the hub says about the outbox and the uploads, for ever."""
        async with self._link.subscription(topics.down_ack(self._device_id)) as messages:
            async for payload in messages:
                try:
                    ack = parse_message(Ack, payload, MAX_REPORT_BYTES)
                except MessageError as error:
                    _log.warning("acknowledgement refused: %s", error)
                    continue
                try:
                    self._take(ack)
                except (DiskError, OSError) as error:
                    _log.error("acknowledgement not kept, the hub gives it again: %s", error)

    def notify(self, linger_s: float = 0.0) -> None:
        """There is something to send, at once or together with what comes within `linger_s`."""
        self._due_s = min(self._due_s, time.monotonic() + linger_s)
        self._wake.set()

    def carry(self, room_bytes: int) -> tuple[OutboxPosition, list[bytes]] | None:
        """Hand over events that wait, to travel in a reported state that is about to go; from now on they are sent.

        Args:
            room_bytes: What they may come to.

        Returns:
            The place of the first, and each as JSON; None if nothing waits that may go that way.
        """
        self.carried = ()
        is_ready = self._may_carry and not self._is_sending and self._connection == self._link.connection
        if not is_ready or self._outbox.depth() == 0:
            return None
        try:
            queued = self._outbox.after(self._sent, self._room)
        except DiskError as error:
            _log.info("outbox: %s", error)
            return None
        most_bytes = min(room_bytes, self._settings.batch_bytes)
        part = next(split(queued, self._settings.batch_messages, most_bytes), ())
        if not part or part[0].channel != "event" or sum(len(one.body) for one in part) > most_bytes:
            return None
        self._sent, self._has_carried = part[-1].position.sequence, True
        self.carried = self._follows(part)
        self._wake.set()
        return part[0].position, [one.body for one in part]

    def _begin(self, connection: int) -> None:
        """Send anew what waits, on another connection: to another hub, it may be."""
        self._connection, self._sent, self._due_s = connection, self._acknowledged, 0.0
        self._may_carry, self._has_carried = True, False
        self._may_compact = self._has_compacted = False

    def _note_silence(self) -> None:
        """Nothing was acknowledged in time: the hub may not listen to the way that it went."""
        self._silences += self._has_batched
        self._may_carry = self._may_carry and not self._has_carried
        self._may_compact = self._may_compact and not self._has_compacted
        self._has_batched = self._has_carried = self._has_compacted = False

    def _take(self, ack: Ack) -> None:
        self._may_compact = bool(ack.reads_compact) or self._may_compact
        if ack.stream == self._outbox.stream and ack.sequence > self._acknowledged:
            self._advance(ack.sequence)
            self._wake.set()
        elif ack.stream > self._outbox.stream:  # this outbox was begun by a clock that was behind, or is an older copy
            _log.warning("the hub knows a later outbox, %s, than this one: it goes on as a later one", ack.stream)
            self._outbox.begin_stream(ack.stream)
            self._wake.set()
        for sha256, answer in ack.blobs.items():
            self._uploads.answer(sha256, answer)

    def _advance(self, sequence: int) -> None:
        last = self._outbox.last()
        if sequence > last:  # what waits here under these sequences would pass for what the hub has already
            _log.warning("the hub has message %d, this outbox ends at %d: it is an older copy", sequence, last)
            self._outbox.begin_stream()
            return
        self._outbox.acknowledge(sequence)
        self._acknowledged = sequence
        self._traces.forget(sequence)
        self._silences, self._has_batched, self._has_carried, self._has_compacted = 0, False, False, False

    async def _wait(self, deadline_s: float) -> None:
        """Wait for news, until it is time to send again, or until what lingers is due."""
        until_s = deadline_s if self._is_full else min(deadline_s, self._due_s)
        with anyio.move_on_after(max(0.0, until_s - time.monotonic())):
            await self._wake.wait()

    async def _send_window(self) -> None:
        """Send until the window is full, nothing waits or the link is down."""
        room = self._room
        self._due_s = math.inf  # before it is read what waits: what is put from now on sets it again
        self._is_sending = True
        try:
            queued = self._outbox.after(self._sent, room)
            self._is_full = len(queued) == room
            for part in split(queued, self._most_together, self._settings.batch_bytes):
                await self._say(part)
                self._sent = part[-1].position.sequence
        except (LinkError, DiskError) as error:
            _log.info("outbox: %s", error)
        finally:
            self._is_sending = False

    @property
    def _room(self) -> int:
        """How many more messages may be sent before the hub acknowledges some."""
        return max(0, self._settings.window - (self._sent - self._acknowledged))

    @property
    def _most_together(self) -> int:
        """Messages in one: a hub before they could travel so hears nothing of them, and acknowledges nothing."""
        return 1 if self._silences >= _MAX_SILENCES else self._settings.batch_messages

    def _follows(self, part: Sequence[Queued]) -> tuple[TraceContext, ...]:
        return self._traces.of(one.position.sequence for one in part)

    async def _say(self, part: Sequence[Queued]) -> None:
        is_batch = len(part) > 1
        self._has_batched = self._has_batched or is_batch
        channel, message = sealed(part)
        is_compact = self._may_compact and channel in _COMPACT
        self._has_compacted = self._has_compacted or is_compact
        try:
            say = self._link.say_compact if is_compact else self._link.say
            await say(channel, message, traces=self._follows(part))
        except LinkError:
            if is_batch and self._link.is_connected:  # a broker that lets nobody write to that topic
                self._silences = _MAX_SILENCES
            raise
