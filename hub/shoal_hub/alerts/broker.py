"""The connection by which alerts go to the broker: opened by the first that does, and kept."""

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import TimeoutError as NotInTimeError

from shoal_contract import topics
from shoal_hub.alerts.errors import DeliveryError
from shoal_hub.mqtt import Connected, Connection, Endpoint, Event


class AlertConnection:
    """Publishes alerts; safe to call from any thread.

    Args:
        endpoint: The broker, and who the hub is there.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def publish(self, channel: str, payload: bytes, properties: Mapping[str, str], timeout_s: float) -> None:
        """Send one message at QoS 1, and wait until the broker has it.

        Raises:
            MqttError: There is no connection, or it went before the broker had answered.
            DeliveryError: The broker has not answered in time.
        """
        sent = self._open(timeout_s).publish(topics.hub_alerts(channel), payload, properties=properties)
        try:
            sent.result(timeout_s)
        except NotInTimeError as error:
            raise DeliveryError(f"the broker has not confirmed within {timeout_s:g} s") from error

    def close(self) -> None:
        """Disconnect; the next message connects again."""
        with self._lock:
            if self._connection is not None:
                self._connection.stop()
                self._connection = None

    def _open(self, timeout_s: float) -> Connection:
        """Return the connection; a new one gets some time to stand."""
        with self._lock:
            if self._connection is None:
                self._connection = Connection(self._endpoint, [], self._events)
                self._connection.start()
            if not self._connection.is_connected:
                self._wait(timeout_s)
            return self._connection

    def _wait(self, timeout_s: float) -> None:
        """Wait for the next sign of life; who finds none is told so by what it publishes."""
        try:
            while not isinstance(self._events.get(timeout=timeout_s), Connected):
                continue
        except queue.Empty:
            return
