"""How alerts go to the broker: they are rare, so each has a connection of its own, and none is kept."""

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as NotInTimeError

from shoal_contract import topics
from shoal_hub.alerts.errors import DeliveryError
from shoal_hub.mqtt import Connected, Connection, Disconnected, Endpoint, Event


class AlertConnection:
    """Publishes alerts, one after the other: of two connections of one name, the broker ends the first.

    Args:
        endpoint: The broker, and who the hub is there.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()

    def publish(self, channel: str, payload: bytes, properties: Mapping[str, str], timeout_s: float) -> None:
        """Send one message at QoS 1, and wait until the broker has it.

        Raises:
            MqttError: The broker has refused it, or the connection went before it had answered.
            DeliveryError: There was no connection, or no answer, in time.
        """
        topic = topics.hub_alerts(channel)
        with self._lock:
            events: queue.SimpleQueue[Event] = queue.SimpleQueue()
            connection = Connection(self._endpoint, [], events)
            connection.start()
            try:
                _wait(events, time.monotonic() + timeout_s)
                connection.publish(topic, payload, properties=properties).result(timeout_s)
            except NotInTimeError as error:
                raise DeliveryError(f"the broker has not confirmed within {timeout_s:g} s") from error
            finally:
                connection.stop()


def _wait(events: "queue.SimpleQueue[Event]", until_s: float) -> None:
    """Wait until there is a connection, over as many tries as there is time for."""
    reason = "no answer"
    while True:
        try:
            event = events.get(timeout=max(0.0, until_s - time.monotonic()))
        except queue.Empty:
            raise DeliveryError(f"there is no connection to the broker: {reason}") from None
        if isinstance(event, Connected):
            return
        if isinstance(event, Disconnected):
            reason = event.reason
