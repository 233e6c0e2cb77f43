"""Ends a device's connection: the hub connects in the device's own name, and the broker closes the older one.

This works with any MQTT 5 broker, as no device can hold two connections (MQTT 5.0, section 3.1.4). The same connection
sees whether the broker now refuses what is sent in that name; before it does, the device could come back.
"""

import queue
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from shoal_contract import topics
from shoal_hub.mqtt import Connected, Connection, Disconnected, Endpoint, Event, MqttError, PublishRefusedError
from shoal_hub.trust.ca import DeviceAuthority

_TIMEOUT_S: Final = 3.0
_LOOK_S: Final = 0.05
STILL_TAKEN: Final = "the broker still takes what is sent in its name"


@dataclass(frozen=True)
class CutOff:
    """The devices' listener, as the hub reaches it.

    Attributes:
        host: A name or address that the listener's certificate is for.
        port: Its port.
        authority: Issues the identities in the devices' names.
        folder: Private; where such an identity lies for as long as it is used.
    """

    host: str
    port: int
    authority: DeviceAuthority
    folder: Path

    def __call__(self, device_id: str, timeout_s: float = _TIMEOUT_S) -> str:
        """End the device's connection; return why it may still have one, or nothing once the broker refuses it."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        deadline_s = time.monotonic() + timeout_s
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.folder, prefix="stand-in-") as folder:
            identity = self.authority.stand_in(device_id, Path(folder))
            endpoint = Endpoint(self.host, self.port, self.authority.certificate_path, identity)
            connection = Connection(endpoint, [], events)
            connection.start()
            try:
                return self._see_refused(connection, events, device_id, deadline_s)
            finally:
                connection.stop()

    def _see_refused(
        self, connection: Connection, events: "queue.SimpleQueue[Event]", device_id: str, deadline_s: float
    ) -> str:
        problem = f"the devices' listener at {self.host}:{self.port} does not answer"
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                event = events.get(timeout=left_s)
            except queue.Empty:
                break
            if isinstance(event, Disconnected):
                problem = event.reason
            elif isinstance(event, Connected):
                problem = _probe(connection, device_id, deadline_s)
                if not problem:
                    break
        return problem


def _probe(connection: Connection, device_id: str, deadline_s: float) -> str:
    """Send in the device's name until that is refused; the message is empty, which nobody takes for anything."""
    while time.monotonic() < deadline_s:
        try:
            connection.publish(topics.up(device_id, "event"), b"").result(_TIMEOUT_S)
        except PublishRefusedError:
            return ""
        except (MqttError, TimeoutError) as error:
            return f"the device came back in between: {error}"
        time.sleep(_LOOK_S)  # the broker reads its rules again within a tenth of a second
    return STILL_TAKEN
