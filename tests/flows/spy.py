"""Who listens at the broker with a device's certificate, and what is found in what was heard."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from tests.simulators.agent_process import AgentProcess

from shoal_agent.identity import load_identity

STRIDE = 24
WAIT_S = 30


class Spy:
    """Everything that a device's certificate gets from the broker."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.is_subscribed = threading.Event()

    def parts_of(self, secret: bytes) -> int:
        """Count the messages that hold any part of `secret`."""
        return sum(has_part(payload, secret) for payload in self.payloads)


@contextmanager
def spying(agent: AgentProcess) -> Iterator[Spy]:
    """Read all that the broker gives to the certificate of an agent that does not run."""
    spy, identity = Spy(), load_identity(agent.data / "identity")
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    folder = agent.data / "identity"
    client.tls_set(str(folder / "ca.pem"), str(folder / "device.pem"))  # key and certificate in one
    client.on_message = lambda _client, _data, message: spy.payloads.append(bytes(message.payload))
    client.on_subscribe = lambda *_: spy.is_subscribed.set()

    def subscribe(*_: object) -> None:
        client.subscribe([("shoal/1/#", 1), ("#", 1)])

    client.on_connect = subscribe
    client.connect(identity.broker_host, identity.broker_port)
    client.loop_start()
    try:
        assert spy.is_subscribed.wait(WAIT_S)
        yield spy
    finally:
        client.disconnect()
        client.loop_stop()


def has_part(data: bytes, secret: bytes) -> bool:
    return any(secret[start : start + STRIDE] in data for start in range(0, len(secret) - STRIDE, STRIDE // 2))
