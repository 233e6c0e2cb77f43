"""Mutual TLS and the ACL, as attacks on a real Mosquitto."""

import queue
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion
from tests.simulators.broker import WAIT_S, Broker, listening

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_hub.mqtt import Message
from shoal_hub.trust import files
from shoal_hub.trust.ca import Identity

SILENCE_S = 0.3


class Client:
    """A bare MQTT client: what a device could do, not what an agent does."""

    def __init__(self, port: int, authority: Path, identity: Identity | None, client_id: str = "") -> None:
        self.connects: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.disconnects: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.messages: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        self.paho.tls_set(
            ca_certs=str(authority),
            certfile=str(identity.certificate) if identity else None,
            keyfile=str(identity.key) if identity else None,
        )
        self.paho.on_connect = lambda *arguments: self.connects.put(arguments[3])
        self.paho.on_disconnect = lambda *arguments: self.disconnects.put(arguments[3])
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_publish = lambda *arguments: self.answers.put(arguments[3])
        self.paho.on_subscribe = lambda *arguments: self.answers.put(arguments[3])
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> Any:
        self.paho.publish(topic, payload, qos=1, retain=retain)
        return self.answers.get(timeout=WAIT_S)

    def subscribe(self, topic_filter: str) -> None:
        self.paho.subscribe(topic_filter, qos=1)
        self.answers.get(timeout=WAIT_S)

    def hears_nothing(self) -> bool:
        try:
            self.messages.get(timeout=SILENCE_S)
        except queue.Empty:
            return True
        return False

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()
        # Without callbacks it is in no circle and is let go at once, its sockets by its own hand.
        self.paho.on_connect = self.paho.on_disconnect = self.paho.on_message = None
        self.paho.on_publish = self.paho.on_subscribe = None


@contextmanager
def connected(broker: Broker, device_id: str, folder: Path) -> Iterator[Client]:
    client = Client(broker.device_port, broker.devices.certificate_path, device_identity(broker, device_id, folder))
    try:
        assert not client.connects.get(timeout=WAIT_S).is_failure
        yield client
    finally:
        client.close()


def device_identity(broker: Broker, device_id: str, folder: Path) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    identity = Identity(folder / f"{device_id}.pem", folder / f"{device_id}.key")
    files.write_key(identity.key, key)
    files.write_certificate(identity.certificate, broker.devices.issue(request, device_id))
    return identity


def test_a_device_writes_its_own_up_topics_and_hears_its_own_down_topics(broker: Broker, tmp_path: Path) -> None:
    device_id = new_device_id()
    topic = topics.up(device_id, "event")
    with connected(broker, device_id, tmp_path) as device, listening(broker.endpoint("hub-test"), topic) as hub:
        assert not device.publish(topic, b"mine").is_failure
        assert hub.wait_for(Message).payload == b"mine"
        device.subscribe(topics.down_ack(device_id))
        hub.connection.publish(topics.down_ack(device_id), b"for you").result(WAIT_S)
        assert device.messages.get(timeout=WAIT_S).payload == b"for you"


def test_a_device_cannot_write_as_another_nor_as_the_hub(broker: Broker, tmp_path: Path) -> None:
    victim = new_device_id()
    forbidden = [
        topics.up(victim, "event"),
        topics.down_desired(victim),
        topics.HUB_WAKE,
        topics.HUB_WATERMARK,
        topics.artifact_chunk("0" * 64, 0),
        "shoal/1/trust/index",
        "$SYS/broker/uptime",
    ]
    with connected(broker, new_device_id(), tmp_path) as device, listening(broker.endpoint("hub-test"), "shoal/1/#"):
        for topic in forbidden:
            assert device.publish(topic).is_failure, topic


def test_a_device_cannot_write_its_own_down_topics(broker: Broker, tmp_path: Path) -> None:
    device_id = new_device_id()
    with connected(broker, device_id, tmp_path) as device:
        assert device.publish(topics.down_desired(device_id), retain=True).is_failure


@pytest.mark.parametrize(
    "topic_filter", ["#", "shoal/1/device/+/down/#", "shoal/1/device/+/up/#", "$SYS/#", "shoal/1/hub/#"]
)
def test_a_device_reads_nothing_of_others_whatever_it_subscribes_to(
    broker: Broker, tmp_path: Path, topic_filter: str
) -> None:
    victim = new_device_id()
    with connected(broker, new_device_id(), tmp_path) as device, listening(broker.endpoint("hub-test")) as hub:
        device.subscribe(topic_filter)
        for topic in (topics.down_desired(victim), topics.up(victim, "event"), topics.HUB_WAKE):
            hub.connection.publish(topic, b"secret").result(WAIT_S)
        assert device.hears_nothing()


def test_every_device_reads_artifacts_and_trust(broker: Broker, tmp_path: Path) -> None:
    with connected(broker, new_device_id(), tmp_path) as device, listening(broker.endpoint("hub-test")) as hub:
        for topic in (topics.artifact_manifest("1" * 64), "shoal/1/trust/timestamp"):
            hub.connection.publish(topic, b"public", retain=True).result(WAIT_S)
            device.subscribe(topic)
            assert device.messages.get(timeout=WAIT_S).payload == b"public"


def test_a_client_without_a_certificate_does_not_get_in(broker: Broker) -> None:
    for port, authority in (
        (broker.device_port, broker.devices.certificate_path),
        (broker.config.hub.port, broker.hub.certificate_path),
    ):
        assert is_refused(port, authority, None)


def test_a_device_certificate_is_refused_on_the_hubs_listener_and_the_hubs_on_the_devices(
    broker: Broker, tmp_path: Path
) -> None:
    device = device_identity(broker, new_device_id(), tmp_path)
    hub = broker.hub.connection("hub-test")
    assert is_refused(broker.config.hub.port, broker.hub.certificate_path, device)
    assert is_refused(broker.device_port, broker.devices.certificate_path, hub)


def test_a_device_named_like_the_hub_is_still_only_a_device(broker: Broker, tmp_path: Path) -> None:
    device = device_identity(broker, "hub-controller", tmp_path)
    assert is_refused(broker.config.hub.port, broker.hub.certificate_path, device)
    with connected(broker, "hub-controller", tmp_path) as client:
        assert client.publish(topics.HUB_WAKE).is_failure


def test_the_hubs_server_certificate_does_not_open_the_devices_listener(broker: Broker) -> None:
    assert is_refused(broker.device_port, broker.devices.certificate_path, broker.config.devices.identity)


def test_a_device_cannot_push_another_off_by_its_client_id(broker: Broker, tmp_path: Path) -> None:
    victim_id, attacker_id = new_device_id(), new_device_id()
    with connected(broker, victim_id, tmp_path) as victim:
        identity = device_identity(broker, attacker_id, tmp_path)
        attacker = Client(broker.device_port, broker.devices.certificate_path, identity, client_id=victim_id)
        attacker.connects.get(timeout=WAIT_S)
        assert victim.disconnects.empty()
        assert not victim.publish(topics.up(victim_id, "event")).is_failure
        assert attacker.publish(topics.up(victim_id, "event")).is_failure
        attacker.close()


def test_a_packet_over_the_limit_ends_the_connection_of_its_sender_alone(broker: Broker, tmp_path: Path) -> None:
    with connected(broker, new_device_id(), tmp_path) as other:
        device_id = new_device_id()
        with connected(broker, device_id, tmp_path) as device:
            device.paho.publish(topics.up(device_id, "event"), b"x" * 1_100_000, qos=1)
            assert device.disconnects.get(timeout=WAIT_S)
        assert other.disconnects.empty()


def is_refused(port: int, authority: Path, identity: Identity | None) -> bool:
    """Whether the broker ends the handshake, or the connection right after it (TLS 1.3 tells the client late)."""
    try:
        client = Client(port, authority, identity)
    except (ssl.SSLError, ConnectionError):
        return True
    try:
        reason = client.disconnects.get(timeout=WAIT_S)
        return bool(reason.is_failure) and client.connects.empty()
    finally:
        client.close()
