"""Events of an MQTT 5 broker, kept there while nobody takes them, and results to a topic: paho-mqtt in its own thread.

Messages are acknowledged by hand, after they are kept, in a session that outlasts a restart of this process.
"""

import queue
import ssl
import threading
import time
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from shoal_compression.values import Value
from shoal_contract.ids import Host
from shoal_numerics.features.events import Arrival
from shoal_training.errors import StreamError
from shoal_training.feature_store.event_source import EventResults, EventSource

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_log = getLogger(__name__)
_KEEPALIVE_S: Final = 30
_SESSION_S: Final = 7 * 86_400
"""How long the broker keeps messages for a stream that is away."""
_REFUSED: Final = 128
"""From this reason code on, MQTT 5 says no."""


class MqttBroker(Value):
    """A broker by address, and how to be let in."""

    host: Host = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65_535)
    username: str = Field(default="", max_length=256)
    password_file: Path | None = None
    ca_file: Path | None = None
    """With it, TLS."""

    def client(self, client_id: str, *, is_lasting: bool) -> "Client":
        """Return a client that will connect to it.

        Raises:
            StreamError: A file can not be read.
        """
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTv5, manual_ack=is_lasting)
        try:
            if self.username:
                password = self.password_file.read_text().strip() if self.password_file else None
                client.username_pw_set(self.username, password)
            if self.ca_file is not None:
                client.tls_set_context(ssl.create_default_context(cafile=str(self.ca_file)))
        except OSError as error:
            raise StreamError(
                f"connecting to {self.host} port {self.port}: {error}; name a file that is there"
            ) from error
        client.reconnect_delay_set(1, 30)
        return client


class _Connection:
    """A client in its own thread; `is_ready` once it is connected, and subscribed where it is to be."""

    def __init__(self, broker: MqttBroker, client_id: str, topic: str, *, is_lasting: bool) -> None:
        self.broker, self._topic = broker, topic
        self.client = broker.client(client_id, is_lasting=is_lasting)
        self.is_ready = threading.Event()
        self.refusal = ""
        self._is_lasting = is_lasting
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._subscribed
        self.client.on_disconnect = self._disconnected

    def start(self, timeout_s: float) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        kept.SessionExpiryInterval = _SESSION_S if self._is_lasting else 0
        self.client.connect_async(
            self.broker.host, self.broker.port, _KEEPALIVE_S, clean_start=not self._is_lasting, properties=kept
        )
        self.client.loop_start()
        if not self.is_ready.wait(timeout_s):
            self.stop()
            raise StreamError(
                f"connecting to {self.broker.host} port {self.broker.port}: "
                f"{self.refusal or f'no answer within {timeout_s:g} s'}; is the broker there, and does it let you in?"
            )

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    # paho's thread ends with an exception in a callback, while the connection looks alive: none may leave these.

    def _connected(self, client: "Client", _data: object, _flags: object, reason: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        if reason.is_failure:
            self.refusal = f"refused: {reason}"
        elif self._topic:
            client.subscribe(self._topic, qos=1)
        else:
            self.is_ready.set()

    def _subscribed(self, _client: "Client", _data: object, _id: int, reasons: list[Any], _more: object) -> None:
        if any(reason.value >= _REFUSED for reason in reasons):
            self.refusal = f"the subscription to {self._topic} is refused"
        else:
            self.is_ready.set()

    def _disconnected(self, _client: "Client", _data: object, _flags: object, reason: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        self.is_ready.clear()
        if reason.is_failure:
            _log.warning("broker %s port %d: connection lost: %s", self.broker.host, self.broker.port, reason)


class MqttEvents(EventSource):
    """Messages of a topic filter.

    Args:
        broker: Where.
        topic: The filter.
        client_id: By which the broker knows what was done; one stream has it at a time.
        entity_level: Which level of the topic names the entity, from 0; None: the event itself does.
        start_s: How long `start` waits.
    """

    def __init__(
        self, broker: MqttBroker, topic: str, client_id: str, entity_level: int | None = None, start_s: float = 30.0
    ) -> None:
        self._connection = _Connection(broker, client_id, topic, is_lasting=True)
        self._connection.client.on_message = self._received
        self._level = entity_level
        self._start_s = start_s
        self._came: queue.SimpleQueue[tuple[Arrival, int, int]] = queue.SimpleQueue()
        self._open: list[tuple[int, int]] = []

    def start(self) -> None:
        """See `EventSource`."""
        self._connection.start(self._start_s)

    def take(self, most: int, timeout_s: float) -> list[Arrival]:
        """See `EventSource`."""
        found: list[Arrival] = []
        while len(found) < most:
            try:
                arrival, number, qos = self._came.get(timeout=timeout_s if not found else 0)
            except queue.Empty:
                break
            found.append(arrival)
            self._open.append((number, qos))
        return found

    def done(self, arrivals: Sequence[Arrival]) -> None:  # noqa: ARG002 - all that were taken are
        """See `EventSource`."""
        for number, qos in self._open:
            self._connection.client.ack(number, qos)
        self._open.clear()

    def stop(self) -> None:
        """See `EventSource`."""
        self._connection.stop()

    def _received(self, _client: "Client", _data: object, message: Any) -> None:  # noqa: ANN401 - paho's
        levels = str(message.topic).split("/")
        entity = levels[self._level] if self._level is not None and self._level < len(levels) else ""
        arrival = Arrival(bytes(message.payload), time.time_ns(), entity)
        self._came.put((arrival, int(message.mid), int(message.qos)))


class MqttResults(EventResults):
    """Publishes lines to a topic, at QoS 1.

    Args:
        broker: Where.
        topic: The topic, without wildcards.
        timeout_s: How long it waits for the broker.
    """

    def __init__(self, broker: MqttBroker, topic: str, timeout_s: float = 30.0) -> None:
        self._connection = _Connection(broker, "", "", is_lasting=False)
        self._topic, self._timeout_s = topic, timeout_s
        self._refused: dict[int, str] = {}
        self._connection.client.on_publish = self._answered

    def start(self) -> None:
        """See `EventResults`."""
        self._connection.start(self._timeout_s)

    def stop(self) -> None:
        """See `EventResults`."""
        self._connection.stop()

    def publish(self, lines: Sequence[bytes], keys: Sequence[str] = ()) -> None:  # noqa: ARG002 - MQTT has no keys
        """See `EventResults`."""
        if not self._connection.is_ready.wait(self._timeout_s):
            raise StreamError(f"publishing to {self._topic}: not connected within {self._timeout_s:g} s")
        sent = [self._connection.client.publish(self._topic, one, qos=1) for one in lines]
        deadline_s = time.monotonic() + self._timeout_s
        for one in sent:
            try:
                one.wait_for_publish(max(deadline_s - time.monotonic(), 0.001))
            except (RuntimeError, ValueError) as error:
                raise StreamError(f"publishing to {self._topic}: {error}; is the broker there?") from error
            if not one.is_published():
                raise StreamError(f"publishing to {self._topic}: not confirmed within {self._timeout_s:g} s")
            if reason := self._refused.pop(one.mid, ""):
                raise StreamError(f"publishing to {self._topic}: refused: {reason}; may this name write there?")

    def _answered(self, _client: "Client", _data: object, number: int, reason: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        """Note what the broker refuses: paho marks it as published too, after this call."""
        if reason.is_failure:
            self._refused[number] = str(reason)
