"""One connection to a local broker, for a source or a sink: paho-mqtt in its own thread, which connects again.

Not the agent's link to its hub, which is `shoal_agent.link`: no certificates, no outbox, and nothing here is signed.
"""

import secrets
import threading
from collections.abc import Callable
from logging import getLogger
from typing import Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from shoal_agent.features.errors import UnreachableError

_log = getLogger(__name__)
_KEEPALIVE_S: Final = 30
_RETRY_S: Final = (1, 30)
_MOST_QUEUED: Final = 1000


class LocalBroker:
    """A connection to a broker, from `start` to `stop`.

    Args:
        address: Host and port.
        topic: What is subscribed to, or empty.
        qos: Of the subscription.
        on_message: Called in paho's thread with topic and payload; must be quick.
    """

    def __init__(
        self,
        address: tuple[str, int],
        topic: str = "",
        qos: int = 0,
        on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None,
    ) -> None:
        self._address = address
        self._topic = topic
        self._qos = qos
        self._on_message = on_message
        self._is_ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, f"shoal-{secrets.token_hex(6)}", protocol=MQTTv5)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._received
        self._client.reconnect_delay_set(*_RETRY_S)
        self._client.max_queued_messages_set(_MOST_QUEUED)

    @property
    def is_ready(self) -> bool:
        """Whether it is connected, and subscribed where it is to be."""
        return self._is_ready.is_set()

    def start(self) -> None:
        """Connect, and go on trying."""
        self._client.connect_async(*self._address, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; blocks for a moment."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait_ready(self, timeout_s: float) -> bool:
        """Block until it is ready, or the time is over; return whether it is."""
        return self._is_ready.wait(timeout_s)

    def publish(self, topic: str, payload: bytes, qos: int, *, is_retained: bool, timeout_s: float) -> None:
        """Publish and wait until the broker has it (QoS 1) or it has been written (QoS 0). Blocks.

        Raises:
            UnreachableError: The broker is away, or did not confirm in time.
        """
        doing = f"publishing to {topic[:100]} at {self._address[0]} port {self._address[1]}"
        if not self._is_ready.wait(timeout_s):
            raise UnreachableError(f"{doing}: not connected within {timeout_s:g} s")
        sent = self._client.publish(topic, payload, qos, retain=is_retained)
        try:
            sent.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError) as error:
            raise UnreachableError(f"{doing}: {error}") from error
        if not sent.is_published():
            raise UnreachableError(f"{doing}: not confirmed within {timeout_s:g} s")

    # paho's thread ends with an exception in a callback, while the connection looks alive: none may leave these.

    def _connected(
        self,
        client: Client,
        _data: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _more: Properties | None,
    ) -> None:
        if reason.is_failure:
            _log.warning("local broker %s port %d: refused: %s", *self._address, reason)
        elif self._topic:
            client.subscribe(self._topic, self._qos)
        else:
            self._is_ready.set()

    def _subscribed(
        self,
        _client: Client,
        _data: object,
        _id: int,
        reasons: list[ReasonCode],
        _more: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            _log.warning("local broker %s port %d: subscription to %s refused", *self._address, self._topic)
        else:
            self._is_ready.set()

    def _disconnected(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _more: Properties | None,
    ) -> None:
        self._is_ready.clear()
        if reason.is_failure:
            _log.info("local broker %s port %d: connection lost: %s", *self._address, reason)

    def _received(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            self._on_message(message.topic, bytes(message.payload))
        except Exception:  # noqa: BLE001 - as above
            _log.exception("local broker: a message could not be taken")
