"""The hub's one way to the broker, over paho-mqtt and `mqtt_client`: a connection that comes back by itself.

What happens is put into a queue that the owner reads; nothing is acknowledged before the owner says so. A message of
a connection that is gone cannot be acknowledged, and a publication that it took along fails: the broker delivers the
one again, and the owner, which works by level, repeats the other.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from shoal_contract.trace_context import TraceContext
from shoal_hub.broker.config import MAX_INFLIGHT_MESSAGES
from shoal_hub.errors import HubError
from shoal_hub.meters import note_connection
from shoal_hub.mqtt_client import Arrival, BatchClient
from shoal_hub.trust.ca import Identity

_log = logging.getLogger(__name__)

NONE: Final[Mapping[str, str]] = MappingProxyType({})
"""No user properties."""
_KEEPALIVE_S: Final = 30
_CONNECT_TIMEOUT_S: Final = 10.0
_FIRST_DELAY_S: Final = 0.2
_LONGEST_DELAY_S: Final = 10.0
_RECEIVE_MAXIMUM: Final = 1000
"""QoS 1 messages that the broker may send before the owner acknowledges one: the bound of the owner's queue."""


class MqttError(HubError):
    """The connection to the broker is not there, or the broker has refused something."""

    code = "mqtt"


class PublishRefusedError(MqttError):
    """The broker has refused a message: its rules do not let the sender write to the topic."""

    code = "publish_refused"


def _keep() -> None:
    """Leave an identity as it is."""


@dataclass(frozen=True)
class Endpoint:
    """Where a listener of the broker is, and who connects to it. The broker takes the client id from `identity`.

    Attributes:
        renew: Called before each connection: makes the identity's files anew that are near their end, since a hub
            may run for longer than its certificates.
    """

    host: str
    port: int
    authority: Path
    identity: Identity
    renew: Callable[[], object] = field(default=_keep, repr=False, compare=False)


@dataclass(frozen=True)
class Subscription:
    """A topic filter and the quality of service to receive at most."""

    topic_filter: str
    qos: int = 1
    shows_retain: bool = False
    """Whether a live message that its sender had retained is marked as such, like one from before the subscription."""


@dataclass(frozen=True)
class Connected:
    """The connection stands and every subscription has been granted."""


@dataclass(frozen=True)
class Disconnected:
    """The connection is gone; it will be tried again."""

    reason: str


@dataclass(frozen=True)
class Message:
    """One received message."""

    topic: str
    payload: bytes
    is_retained: bool
    acknowledge: Callable[[], None] = field(repr=False, compare=False)
    """Tells the broker, for QoS 1, that the message needs no second delivery."""
    arrived_s: float = field(default_factory=time.monotonic, repr=False, compare=False)
    """When it came, by the monotonic clock."""
    traces: tuple[TraceContext, ...] = field(default=(), repr=False, compare=False)
    """What its sender says that it follows from; no signature covers it."""


Event: TypeAlias = Connected | Disconnected | Message


class Connection:
    """One MQTT 5 connection with its own threads. `publish` and acknowledgements may come from any thread.

    Args:
        endpoint: Broker and identity.
        subscriptions: Made again at each connect, before `Connected` is put into `events`.
        events: Where `Connected`, `Disconnected` and `Message` go.
        rest_s: How long the connection rests after it has read what had come: for those that take in much and whose
            owner is in no hurry, as many packets at once cost much less than one by one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        subscriptions: Sequence[Subscription],
        events: "queue.SimpleQueue[Event]",
        *,
        rest_s: float = 0.0,
    ) -> None:
        self._rest_s = rest_s
        self._endpoint = endpoint
        self._subscriptions = tuple(subscriptions)
        self._events = events
        self._stopping = threading.Event()
        self._session: _Session | None = None
        self._thread = threading.Thread(target=self._keep_connected, name="mqtt-watch", daemon=True)

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect and end both threads."""
        self._stopping.set()
        if self._session is not None:
            self._session.over.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands with all its subscriptions."""
        return self._session is not None and self._session.is_ready

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, properties: Mapping[str, str] = NONE
    ) -> "Future[None]":
        """Send one message; the future is done when the broker has taken it (QoS 1) or when it is sent (QoS 0).

        Args:
            topic: Where to.
            payload: What.
            qos: 0 or 1.
            retain: Whether the broker keeps it.
            properties: MQTT 5 user properties, by name.

        Raises:
            MqttError: There is no connection now. The future fails with it when the connection goes before the
                broker has answered, or when the broker refuses.
        """
        session = self._session
        if session is None or not session.is_ready:
            raise _not_connected(topic)
        return session.publish(topic, payload, qos=qos, retain=retain, properties=properties)

    def tell(self, topic: str, payload: bytes, properties: Mapping[str, str] = NONE) -> None:
        """Send one message at QoS 0, of which nobody hears whether it arrived: who needs it will ask again.

        Raises:
            MqttError: There is no connection now.
        """
        session = self._session
        if session is None or not session.is_ready:
            raise _not_connected(topic)
        session.tell(topic, payload, properties)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Have what this thread acknowledges, tells and publishes leave in few writes, at the latest as the block ends.

        Whoever waits for a confirmation waits after the block.
        """
        session = self._session
        if session is None:
            yield
            return
        with session.gathering():
            yield

    def _keep_connected(self) -> None:
        delay_s = _FIRST_DELAY_S
        while not self._stopping.is_set():
            try:
                self._endpoint.renew()
                self._session = session = _Session(self._endpoint, self._subscriptions, self._events, self._rest_s)
            except (OSError, HubError) as error:  # this thread must live: the files may be whole at the next try
                reason = f"connecting to the broker with {self._endpoint.identity.certificate}: {error}"
            else:
                reason = session.run(self._stopping)
                if session.was_ready:
                    delay_s = _FIRST_DELAY_S
            self._events.put(Disconnected(reason))
            self._stopping.wait(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, keeps no secret
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)


class _Session:
    """One connection from CONNECT to its end. A client of its own each: none of paho's queues outlives it."""

    def __init__(
        self,
        endpoint: Endpoint,
        subscriptions: Sequence[Subscription],
        events: "queue.SimpleQueue[Event]",
        rest_s: float,
    ) -> None:
        self.over = threading.Event()
        self.is_ready = False
        self.was_ready = False
        self._endpoint = endpoint
        self._subscriptions = subscriptions
        self._events = events
        self._reason = "the hub stops"
        self._pending: dict[int, Future[None]] = {}
        self._rest_s = rest_s
        self._name = endpoint.identity.certificate.stem
        note_connection(self._name, is_up=False)
        self._client = self._make_client()

    def run(self, stopping: threading.Event) -> str:
        """Connect, serve until the connection ends, and return why it did."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.ReceiveMaximum = _RECEIVE_MAXIMUM
        try:
            self._client.connect(
                self._endpoint.host, self._endpoint.port, _KEEPALIVE_S, clean_start=True, properties=properties
            )
        except (OSError, ValueError) as error:
            return f"connecting to the broker at {self._endpoint.host}:{self._endpoint.port}: {error}"
        self._client.loop_start()
        if not stopping.is_set():  # else `stop` may have come too early to find this session
            self.over.wait()
        self._close()
        return self._reason

    def publish(
        self, topic: str, payload: bytes, *, qos: int, retain: bool, properties: Mapping[str, str]
    ) -> "Future[None]":
        """Send one message and return the future of its confirmation."""
        info = self._client.publish(topic, payload, qos=qos, retain=retain, properties=_user_properties(properties))
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise _not_connected(topic)
        # The confirmation may already be here: whoever comes first makes the future.
        future = self._pending.setdefault(info.mid, Future())
        future.add_done_callback(lambda _: self._pending.pop(info.mid, None))
        if self.over.is_set():
            _fail(future, _not_connected(topic))
        return future

    def tell(self, topic: str, payload: bytes, properties: Mapping[str, str]) -> None:
        """Send one message at QoS 0."""
        with self._client.gathering():  # so that nothing is noted of it
            info = self._client.publish(topic, payload, qos=0, properties=_user_properties(properties))
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise _not_connected(topic)

    def gathering(self) -> AbstractContextManager[None]:
        """Have what the caller's thread acknowledges, tells and publishes leave in few writes."""
        return self._client.gathering()

    def _make_client(self) -> BatchClient:
        client = BatchClient(
            CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, manual_ack=True, reconnect_on_failure=False
        )
        identity = self._endpoint.identity
        client.use_tls(str(self._endpoint.authority), str(identity.certificate), str(identity.key))
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(MAX_INFLIGHT_MESSAGES)
        client.on_connect = self._guarded(self._on_connect)
        client.on_subscribe = self._guarded(self._on_subscribe)
        client.on_disconnect = self._guarded(self._on_disconnect)
        client.on_arrival = self._guarded(self._on_arrival)
        client.on_publish = self._guarded(self._on_publish)
        client.on_end = lambda: self._end("the connection's thread has ended")  # of an exception, all else is told
        return client

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Wrap a callback: what it raises ends this session, and never paho's thread in silence."""

        def guarded(*arguments: Any) -> None:  # noqa: ANN401 - paho's callbacks differ in their arguments
            try:
                callback(*arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live
                _log.exception("a callback of the connection to the broker failed; connecting again")
                self._end(f"a callback failed: {error}")

        return guarded

    def _on_connect(self, client: paho.Client, _data: object, _flags: object, code: ReasonCode, _p: object) -> None:
        if code.is_failure:
            self._end(f"the broker refused the connection: {code}")
        elif self._subscriptions:
            client.subscribe([(one.topic_filter, _options(one)) for one in self._subscriptions])
        else:
            self._ready()

    def _on_subscribe(self, _client: object, _data: object, _mid: int, codes: list[ReasonCode], _p: object) -> None:
        refused = [one.topic_filter for one, code in zip(self._subscriptions, codes, strict=True) if code.is_failure]
        if refused:
            self._end(f"the broker refused to subscribe to {', '.join(refused)}")
        else:
            self._ready()

    def _ready(self) -> None:
        self.is_ready = self.was_ready = True
        self._client.rest_s = self._rest_s
        note_connection(self._name, is_up=True)
        self._events.put(Connected())

    def _on_disconnect(self, _client: object, _data: object, _flags: object, code: ReasonCode, _p: object) -> None:
        self._end(f"the connection to the broker ended: {code}")

    def _on_arrival(self, arrival: Arrival) -> None:
        def acknowledge() -> None:
            if arrival.qos and not self.over.is_set():
                self._client.ack(arrival.mid, arrival.qos)

        message = Message(arrival.topic, arrival.payload, arrival.is_retained, acknowledge, traces=arrival.traces)
        self._events.put(message)

    def _on_publish(self, _client: object, _data: object, mid: int, code: ReasonCode, _p: object) -> None:
        future = self._pending.setdefault(mid, Future())
        if code.is_failure:
            remedy = "look at the broker's log; the hub's ACL is written at `shoal hub up`"
            _fail(future, PublishRefusedError(f"publishing: the broker refused: {code}", remedy))
        elif not future.done():
            future.set_result(None)

    def _end(self, reason: str) -> None:
        if not self.over.is_set():
            self._reason = reason
        self.is_ready = False
        self.over.set()
        note_connection(self._name, is_up=False)

    def _close(self) -> None:
        self.is_ready = False
        self.over.set()
        note_connection(self._name, is_up=False)
        self._client.disconnect()
        self._client.loop_stop()
        # The callbacks tie client and session into a circle; untied, the client's sockets are closed at once.
        self._client.on_connect = self._client.on_subscribe = self._client.on_disconnect = None
        self._client.on_publish = None
        self._client.on_arrival, self._client.on_end = _drop, _keep
        for future in list(self._pending.values()):
            _fail(future, _not_connected("what was on its way"))


def _user_properties(named: Mapping[str, str]) -> Properties | None:
    if not named:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.UserProperty = list(named.items())
    return properties


def _drop(_: Arrival) -> None:
    """Take no message of a session that is over: the broker delivers it again."""


def _options(one: Subscription) -> SubscribeOptions:
    return SubscribeOptions(qos=one.qos, retainAsPublished=one.shows_retain)


def _fail(future: "Future[None]", error: MqttError) -> None:
    if not future.done():
        future.set_exception(error)


def _not_connected(topic: str) -> MqttError:
    return MqttError(f"publishing {topic}: no connection to the broker", "it is sent again once the broker is back")
