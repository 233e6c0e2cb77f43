"""A real Mosquitto with the hub's own configuration, on free ports, for tests."""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from shoal_hub.broker.access import DeviceAccess, Revoked
from shoal_hub.broker.config import BrokerConfig, Listener
from shoal_hub.broker.ports import free_port
from shoal_hub.broker.process import BrokerProcess
from shoal_hub.broker.program import find_mosquitto
from shoal_hub.mqtt import Connected, Connection, Disconnected, Endpoint, Event, Message, Subscription
from shoal_hub.trust.ca import DeviceAuthority, HubAuthority

WAIT_S = 10.0
Kind = TypeVar("Kind", Connected, Disconnected, Message)


class Broker:
    """Mosquitto and the two authorities that its listeners trust; `folder/trust` holds the keys."""

    def __init__(self, folder: Path) -> None:
        self.trust = folder / "trust"
        self.devices = DeviceAuthority.open(self.trust)
        self.hub = HubAuthority.open(self.trust)
        self.config = _config(folder / "broker", self.devices, self.hub)
        self.access = DeviceAccess(self.config, [self.devices])
        self.access.write(Revoked(), datetime.now(UTC))
        self.process = BrokerProcess(find_mosquitto(), self.config)

    @property
    def device_port(self) -> int:
        return self.config.devices.port

    def endpoint(self, name: str) -> Endpoint:
        """Return the hub listener as the hub's process `name` sees it."""
        return Endpoint("127.0.0.1", self.config.hub.port, self.hub.certificate_path, self.hub.connection(name))

    def restart(self, *, keeps_what_is_retained: bool) -> None:
        """Stop Mosquitto and start it again, with or without what it had on disk."""
        self.process.stop()
        if not keeps_what_is_retained:
            for file in self.config.database_dir.iterdir():
                file.unlink()
        self.process.ensure()


class Listening:
    """A hub connection whose events a test awaits in order."""

    def __init__(self, endpoint: Endpoint, subscriptions: Sequence[str] = ()) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.connection = Connection(endpoint, [Subscription(one) for one in subscriptions], self.events)
        self.connection.start()

    def wait_for(self, kind: type[Kind], timeout_s: float = WAIT_S) -> Kind:
        """Return the next event of `kind`, passing over others."""
        while True:
            event = self.events.get(timeout=timeout_s)
            if isinstance(event, kind):
                return event


@contextmanager
def running_broker(folder: Path) -> Iterator[Broker]:
    """Run Mosquitto for the length of the block."""
    broker = Broker(folder)
    broker.process.ensure()
    try:
        yield broker
    finally:
        broker.process.stop()


@contextmanager
def listening(endpoint: Endpoint, *subscriptions: str) -> Iterator[Listening]:
    """Hold a hub connection for the length of the block, from the moment it is connected."""
    listener = Listening(endpoint, subscriptions)
    try:
        listener.wait_for(Connected)
        yield listener
    finally:
        listener.connection.stop()


def _config(folder: Path, devices: DeviceAuthority, hub: HubAuthority) -> BrokerConfig:
    return BrokerConfig(
        folder=folder,
        devices=Listener(
            host="127.0.0.1",
            port=free_port(),
            authority=devices.certificate_path,
            identity=devices.issue_server(["127.0.0.1", "localhost"]),
            acl=folder / "devices.acl",
            crl=folder / "devices.crl",
        ),
        hub=Listener(
            host="127.0.0.1",
            port=free_port(),
            authority=hub.certificate_path,
            identity=hub.issue_server(["127.0.0.1", "localhost"], "hub-listener"),
            acl=folder / "hub.acl",
        ),
        user=folder.parent.owner(),
    )
