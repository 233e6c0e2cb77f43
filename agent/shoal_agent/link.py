"""The agent's one face over MQTT: paho-mqtt in its own thread, an async interface on this side.

Callbacks only hand over to the event loop and never wait for it, as paho holds its locks while it calls them.
Each connection has a number, carried by presence and by the will, so that an old connection's farewell can not be
taken for the present one's.
"""

import asyncio
import random
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from shoal_agent.asks import Asks
from shoal_agent.clock import Clock
from shoal_agent.errors import DiskError, FetchError, LinkError
from shoal_agent.identity import Identity, load_key
from shoal_agent.ledger import Passage
from shoal_agent.link_inboxes import Inboxes
from shoal_agent.link_patience import Patience
from shoal_agent.link_problems import explain_end, explain_no_connection
from shoal_agent.link_socket import MqttClient, idle_s, send_at_once
from shoal_agent.pairs import Pairs
from shoal_agent.settings import LinkSettings
from shoal_agent.signer import DeviceSigner
from shoal_agent.tls import LatestContext
from shoal_agent.traces import as_properties, with_context
from shoal_contract import topics
from shoal_contract.device_signature import SignedChannel
from shoal_contract.limits import MAX_PACKET_BYTES
from shoal_contract.reported import CONNECTION_LOST, Presence
from shoal_contract.trace_context import TraceContext

_log = getLogger(__name__)
_MIN_ERROR_CODE = 128
_WATCH_S = 5.0
_RESTART = "restart the agent and report what its log says"


class _Confirmation:
    """A publish that waits for its PUBACK since `asked_s`; `problem` says why it will not count."""

    def __init__(self) -> None:
        self.asked_s = time.monotonic()
        self.done = anyio.Event()
        self.problem = ""


class Link:
    """The connection to the broker. Use `async with link.running():` and then its other methods.

    Args:
        identity: Who connects, and where.
        pairs: The pairs of key and certificate that it may show.
        signer: Signs what goes up.
        settings: Bounds.
        next_connection: Gives each connection its number.
        now: Trusted time.
        jitter: Uniform random number in [0, 1).
        client: Makes what speaks MQTT: paho in a thread of its own, unless it is given another.
    """

    def __init__(
        self,
        identity: Identity,
        pairs: Pairs,
        signer: DeviceSigner,
        settings: LinkSettings,
        next_connection: Callable[[], int],
        now: Clock,
        jitter: Callable[[], float] = random.random,
        client: Callable[..., MqttClient] = MqttClient,
    ) -> None:
        self._new_client = client
        self._identity = identity
        self._signer = signer
        self._settings = settings
        self._instance = secrets.token_hex(8)
        self._next_connection = next_connection
        self._now = now
        self._jitter = jitter
        self._pairs = pairs
        self._pair = pairs.present
        self.reconnect_jitter_s = 0.0
        """What desired state adds at most before each new connection, so that a fleet does not return as one."""
        self.on_refused: Callable[[], None] = lambda: None
        """Called in the event loop when the broker's certificate was refused."""
        self.on_passage: Callable[[Passage, str, int, int], None] = lambda *_: None
        """Told of what passes: (what, topic, payload bytes, QoS); in any thread."""
        self._inboxes = Inboxes(settings.inbox_messages)
        self._asks = Asks(self._subscribe, self._unsubscribe)
        self._confirmations: dict[int, _Confirmation] = {}
        self._up = anyio.Event()
        self._patience = Patience(self._probe, lambda: idle_s(self._client.socket()))
        self._down = anyio.Event()
        self._attempts = 0
        self._is_stopping = False
        self._was_accepted = False
        self._is_moving = False
        self._crash: BaseException | None = None
        self._crashed = anyio.Event()
        self.connection = 0
        self._upcoming = 0
        self.last_problem = "not connected yet"
        self._client = self._make_client()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Link"]:
        """Keep connecting until the block ends."""
        self._loop = asyncio.get_running_loop()
        self._start_connecting()
        try:
            yield self
        finally:
            self._is_stopping = True
            self._client.disconnect()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._client.loop_stop)

    async def reconnect(self) -> None:
        """Leave the broker in good order and connect again at once, with the pair that is next."""
        self._is_moving = True
        try:
            self._client.disconnect()
            await anyio.to_thread.run_sync(self._client.loop_stop)
            self._set_down("connecting again with a renewed certificate")
            self._attempts = 0
            self._client = self._make_client()  # paho closes what its old thread woke up by with the old client only
            self._start_connecting()
        finally:
            self._is_moving = False

    async def watch(self) -> None:
        """Raise what went wrong in paho's thread, should it ever end by itself: it does so without a word."""
        while not self._crashed.is_set():
            with anyio.move_on_after(_WATCH_S):
                await self._crashed.wait()
            is_alive = self._is_moving or self._client.is_driven
            if not self._crashed.is_set() and not is_alive:
                raise LinkError("running the MQTT thread: it has ended", _RESTART)
        raise LinkError(f"running the MQTT thread: {self._crash!r}", _RESTART) from self._crash

    async def wait_connected(self) -> int:
        """Wait until the broker has accepted the connection; return its number."""
        await self._up.wait()
        return self.connection

    async def wait_disconnected(self) -> None:
        """Wait until the present connection has ended; returns at once where there is none."""
        if self._up.is_set():
            await self._down.wait()

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection and it stands."""
        return self._up.is_set()

    async def say(
        self, channel: SignedChannel, message: bytes, *, retain: bool = False, traces: Sequence[TraceContext] = ()
    ) -> None:
        """Publish a message, signed by this device, on its own channel; wait for the broker's confirmation.

        Raises:
            LinkError: The link is down, or the confirmation did not come in time.
        """
        topic = topics.up(self._identity.device_id, channel)
        await self.publish(topic, self._signer.seal(channel, message), retain=retain, traces=traces)

    async def say_compact(self, channel: SignedChannel, message: bytes, *, traces: Sequence[TraceContext] = ()) -> None:
        """Publish a message as `say` does, in the compact form.

        Raises:
            LinkError: As `say`.
        """
        topic = topics.up(self._identity.device_id, channel)
        await self.publish(topic, self._signer.seal_compact(channel, message), traces=traces)

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, traces: Sequence[TraceContext] = ()
    ) -> None:
        """Publish at QoS 1 and wait for the broker's confirmation.

        Args:
            topic: Where to.
            payload: What.
            retain: Whether the broker keeps it.
            traces: What it follows from.

        Raises:
            LinkError: The link is down, too many publications wait, or the confirmation did not come in time.
        """
        if not self.is_connected:
            raise LinkError(f"publishing to {topic}: {self.last_problem}")
        confirmation = _Confirmation()
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=_properties(traces))
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            waiting = self._settings.unconfirmed_messages
            raise LinkError(f"publishing to {topic}: {waiting} publications wait for the broker's confirmation")
        self.on_passage("publish", topic, len(payload), 1)
        self._confirmations[info.mid] = confirmation
        try:
            with anyio.fail_after(self._settings.confirm_timeout_s):
                await confirmation.done.wait()
        except TimeoutError as error:
            message = f"publishing to {topic}: no confirmation within {self._settings.confirm_timeout_s} s"
            raise LinkError(message) from error
        finally:
            self._confirmations.pop(info.mid, None)
        if confirmation.problem:
            raise LinkError(f"publishing to {topic}: {confirmation.problem}")

    @asynccontextmanager
    async def subscription(self, topic: str, qos: int = 1) -> AsyncIterator[MemoryObjectReceiveStream[bytes]]:
        """Receive what arrives on exactly `topic`, across reconnections, until the block ends."""
        messages = self._inboxes.open(topic, qos)
        if self.is_connected:
            self._asks.begin({topic: qos})
        try:
            yield messages
        finally:
            self._inboxes.close(topic)
            if self.is_connected:
                self._asks.end(topic)

    async def read_retained(self, topic: str, timeout_s: float) -> bytes:
        """Return the retained message of `topic`, at QoS 0: whoever asks asks again if it is lost.

        Raises:
            FetchError: The broker has answered what was sent `timeout_s` after the question, or other things only have
                come for much longer; a slow message is waited for, and one whose packets were lost as well.
            LinkError: The link is down.
        """
        async with self.subscription(topic, qos=0) as messages:
            started_s, left_s = time.monotonic(), timeout_s
            while left_s > 0:
                with anyio.move_on_after(left_s):
                    payload = await messages.receive()
                    if payload:
                        return payload
                    continue  # cleared just now
                left_s = self._patience.left_s(topic, started_s, timeout_s) if self.is_connected else 0.0
        if not self.is_connected:
            raise LinkError(f"waiting for {topic}: {self.last_problem}")
        raise FetchError(f"waiting for {topic}: silent for {timeout_s} s")

    def _probe(self, topic: str) -> int | None:
        """Send what the broker answers and nothing else follows from: to leave a topic that nobody subscribed to."""
        nothing = f"{topic}/none"
        self.on_passage("unsubscribe", nothing, 0, 0)
        return self._client.unsubscribe(nothing)[1]

    def presence(self, state: str, reason: str = "") -> bytes:
        """Return this connection's presence message."""
        return self._presence(self.connection, state, reason)

    def _presence(self, connection: int, state: str, reason: str) -> bytes:
        message = Presence.model_validate(
            {"state": state, "connection": connection, "sequence": 0 if state == "online" else 1,
             "since": self._now(), "reason": reason, "instance": self._instance}
        )  # fmt: skip
        return message.to_bytes()

    def _make_client(self) -> MqttClient:
        client = self._new_client(CallbackAPIVersion.VERSION2, client_id=self._identity.device_id, protocol=MQTTv5)
        self._identity.tls_context(self._now, self._pair)  # what is damaged is told at the start
        client.tls_set_context(LatestContext(self._tls_context, self._tell_refused))
        client.connect_timeout = self._settings.connect_timeout_s
        client.max_queued_messages_set(self._settings.unconfirmed_messages)
        client.on_connect = self._guard(self._on_connect)
        client.on_connect_fail = self._guard(self._on_connect_fail)
        client.on_disconnect = self._guard(self._on_disconnect)
        client.on_message = self._guard(self._on_message)
        client.on_socket_open = self._guard(send_at_once)
        client.on_publish = self._guard(self._on_publish)
        client.on_unsubscribe = self._guard(self._on_unsubscribe)
        return client

    def _tls_context(self) -> ssl.SSLContext:
        try:
            return self._identity.tls_context(self._now, self._pair)
        except DiskError as error:  # paho tries again after an OSError, and ends its thread after any other
            raise ssl.SSLError(1, str(error)) from error

    def _tell_refused(self) -> None:
        self._loop.call_soon_threadsafe(self.on_refused)

    def _start_connecting(self) -> None:
        self._prepare_connection()
        self._client.connect_async(
            self._identity.broker_host,
            self._identity.broker_port,
            self._settings.keepalive_s,
            clean_start=True,
            properties=self._connect_properties(),
        )
        self._client.loop_start()

    def _guard(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Wrap a callback: an exception in one would end paho's thread while `is_connected` stays true."""

        def guarded(*arguments: Any) -> None:  # noqa: ANN401 - paho's callbacks differ in their arguments
            try:
                callback(*arguments)
            except Exception as error:  # noqa: BLE001 - raised again in the event loop by `watch`
                self._crash = error
                self._loop.call_soon_threadsafe(self._crashed.set)

        return guarded

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        properties.ReceiveMaximum = self._settings.receive_maximum
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        return properties

    def _prepare_connection(self) -> None:
        """Give the next connection its pair of key and certificate, its number and its will."""
        self._pair = self._pairs.choose()
        self._sign_by(self._pair)
        self._upcoming = self._next_connection()
        will = self._signer.seal("presence", self._presence(self._upcoming, "offline", CONNECTION_LOST))
        topic = topics.up(self._identity.device_id, "presence")
        # Without a delay: the grace is the hub's. Mosquitto 2.0.11 uses delayed wills after they are freed: ADR 21.
        self._client.will_set(topic, will, qos=1, retain=True)

    def _sign_by(self, pair: Path) -> None:
        """What is said on a connection is signed by the key that the connection was made with."""
        try:
            self._signer.use(load_key(pair))
        except DiskError as error:  # no connection comes of this pair either; then the other one has its turn
            _log.error("%s", error)

    def _back_off(self, problem: str) -> None:
        """Set how long paho waits before it tries again: exponential, with jitter."""
        if self._is_stopping:
            return
        self._pairs.ended()
        if self._is_moving:
            return
        self._attempts += 1
        ceiling_s = min(self._settings.reconnect_max_s, self._settings.reconnect_min_s * 2 ** min(self._attempts, 16))
        delay_s = max(self._settings.reconnect_min_s, ceiling_s * self._jitter())
        delay_s += self.reconnect_jitter_s * self._jitter()
        self._client.reconnect_delay_set(delay_s, delay_s)  # paho is fine with fractions
        self._prepare_connection()
        _log.warning("link to the broker: %s; next try in %.1f s", problem, delay_s)
        self._loop.call_soon_threadsafe(self._set_down, problem)

    def _set_down(self, problem: str) -> None:
        self.last_problem = problem
        self._asks.forget()
        if self._up.is_set():
            self._up = anyio.Event()
            self._down.set()
        for confirmation in self._confirmations.values():
            confirmation.problem = problem
            confirmation.done.set()

    def _set_up(self, connection: int) -> None:
        self.connection = connection
        self._patience.begin()
        self._attempts = 0
        self._down = anyio.Event()
        self._asks.forget()
        self._asks.begin(self._inboxes.wanted())
        self._up.set()

    def _subscribe(self, wanted: Mapping[str, int]) -> None:
        for topic in wanted:  # counted as if each had a packet of its own, which is a little too much
            self.on_passage("subscribe", topic, 0, 0)
        self._client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in wanted.items()])

    def _unsubscribe(self, left: Sequence[str]) -> None:
        for topic in left:
            self.on_passage("unsubscribe", topic, 0, 0)
        self._client.unsubscribe(list(left))

    def _on_connect(self, _c: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None) -> None:
        if reason.is_failure:
            self._loop.call_soon_threadsafe(self._set_down, f"the broker refused the connection: {reason}")
        else:
            self._was_accepted = True
            self._pairs.taken()
            self.on_passage("connect", "", 0, 0)
            self._loop.call_soon_threadsafe(self._set_up, self._upcoming)

    def _on_connect_fail(self, _client: Client, _userdata: object) -> None:
        broker = f"{self._identity.broker_host}:{self._identity.broker_port}"
        self._back_off(explain_no_connection(broker, self._client.connect_error, self._identity.device_id))

    def _on_disconnect(
        self, _c: Client, _u: object, _f: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        was_accepted, self._was_accepted = self._was_accepted, False
        self._back_off(explain_end(reason, self._identity.device_id, was_accepted=was_accepted))

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self.on_passage("receive", message.topic, len(message.payload), message.qos)
        told = getattr(message.properties, "UserProperty", ())
        payload = with_context(bytes(message.payload), told) if told else bytes(message.payload)
        self._inboxes.hand_over(partial(self._client.call_in, self._loop), message.topic, payload)

    def _on_publish(self, _c: Client, _u: object, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
        self._client.call_in(self._loop, self._confirm, mid, reason)

    def _on_unsubscribe(self, _c: Client, _u: object, mid: int, _r: object, _p: Properties | None) -> None:
        if self._patience.is_probing:
            self._client.call_in(self._loop, self._patience.hear_of, mid)

    def _confirm(self, mid: int, reason: ReasonCode) -> None:
        confirmation = self._confirmations.get(mid)
        if confirmation is not None:
            self._patience.note_answer(confirmation.asked_s)
            confirmation.problem = f"the broker refused it: {reason}" if reason.value >= _MIN_ERROR_CODE else ""
            confirmation.done.set()


def _properties(traces: Sequence[TraceContext]) -> Properties | None:
    if not traces:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = as_properties(traces)
    return properties
