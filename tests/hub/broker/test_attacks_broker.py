"""Attacks on the broker by somebody with a board of the fleet in hand, or with none; real Mosquitto, bare clients."""

import queue
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion
from tests.hub.broker.test_access import Client, connected, device_identity, is_refused
from tests.simulators.broker import WAIT_S, Broker, Listening, listening

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_hub.broker.access import Revoked
from shoal_hub.ingest.group import read_shared_group
from shoal_hub.mqtt import Message
from shoal_hub.trust import certificates, files
from shoal_hub.trust.ca import DeviceAuthority, Identity

NOT_AUTHORIZED = 0x87
SETTLE_S = 0.3
MESSAGES = 40


def serial_of(identity: Identity) -> int:
    return files.read_certificate(identity.certificate).serial_number


def make_identity(folder: Path, name: str, sign: Callable[[ec.EllipticCurvePrivateKey], x509.Certificate]) -> Identity:
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    identity = Identity(folder / f"{name}.pem", folder / f"{name}.key")
    files.write_key(identity.key, key)
    files.write_certificate(identity.certificate, sign(key))
    return identity


def payloads(hears: Listening, count: int) -> list[bytes]:
    return [hears.wait_for(Message).payload for _ in range(count)]


# Getting in


def test_a_certificate_of_another_authority_with_the_right_name_does_not_get_in(broker: Broker, tmp_path: Path) -> None:
    other = DeviceAuthority.open(tmp_path / "other")
    key_and_name = make_identity(
        tmp_path,
        "forged",
        lambda key: certificates.make_client(new_device_id(), key.public_key(), other._certificate, other._key),
    )
    assert is_refused(broker.device_port, broker.devices.certificate_path, key_and_name)


def test_a_self_signed_certificate_that_calls_itself_the_authority_does_not_get_in(
    broker: Broker, tmp_path: Path
) -> None:
    forged = make_identity(tmp_path, "forged", lambda key: certificates.make_authority(DeviceAuthority.name, key))
    assert is_refused(broker.device_port, broker.devices.certificate_path, forged)


def test_an_expired_certificate_does_not_get_in(broker: Broker, tmp_path: Path) -> None:
    authority = broker.devices
    expired = make_identity(
        tmp_path,
        "expired",
        lambda key: certificates.make_client(
            new_device_id(), key.public_key(), authority._certificate, authority._key, timedelta(seconds=-1)
        ),
    )
    assert is_refused(broker.device_port, authority.certificate_path, expired)


def test_a_revoked_certificate_does_not_get_in_and_another_one_of_the_same_name_does(
    own_broker: Broker, tmp_path: Path
) -> None:
    device_id = new_device_id()
    lost = device_identity(own_broker, device_id, tmp_path)
    (tmp_path / "new").mkdir()
    renewed = device_identity(own_broker, device_id, tmp_path / "new")
    own_broker.access.write(Revoked(serials={serial_of(lost): datetime.now(UTC)}), datetime.now(UTC))
    own_broker.access.reload()
    time.sleep(SETTLE_S)
    assert is_refused(own_broker.device_port, own_broker.devices.certificate_path, lost)
    client = Client(own_broker.device_port, own_broker.devices.certificate_path, renewed)
    assert not client.connects.get(timeout=WAIT_S).is_failure
    client.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_tls_session_from_before_the_revocation_does_not_get_in(
    version: ssl.TLSVersion, own_broker: Broker, tmp_path: Path
) -> None:
    """A resumed session shows no certificate again, so the broker has to forget its tickets with the old list."""
    identity = device_identity(own_broker, new_device_id(), tmp_path)
    context = ssl.create_default_context(cafile=str(own_broker.devices.certificate_path))
    context.load_cert_chain(identity.certificate, identity.key)
    context.maximum_version = version
    ticket, answer = resume(context, own_broker, None)
    assert answer
    assert resume(context, own_broker, ticket)[1], "a resumed session is good while the device is"
    own_broker.access.write(Revoked(serials={serial_of(identity): datetime.now(UTC)}), datetime.now(UTC))
    own_broker.access.reload()
    time.sleep(SETTLE_S)
    assert not resume(context, own_broker, ticket)[1]


def resume(
    context: ssl.SSLContext, broker: Broker, ticket: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bytes]:
    """Connect with a kept session; return the session and the broker's answer to CONNECT, empty where it hangs up."""
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"
    with socket.create_connection(("127.0.0.1", broker.device_port), WAIT_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost", session=ticket) as secured:
                secured.sendall(connect)
                answer = secured.recv(16)
                return secured.session, answer
        except (ssl.SSLError, ConnectionError):
            return None, b""


def test_a_revoked_device_that_is_still_connected_can_neither_write_nor_read_nor_leave_a_will(
    own_broker: Broker, tmp_path: Path
) -> None:
    device_id = new_device_id()
    up, down = topics.up(device_id, "event"), topics.down_ack(device_id)
    with listening(own_broker.endpoint("hub-test"), topics.device_filter(device_id)) as hub:
        with connected(own_broker, device_id, tmp_path) as device:
            device.subscribe(down)
            device.subscribe(topics.ARTIFACT_FILTER)
            own_broker.access.write(Revoked(devices={device_id}), datetime.now(UTC))
            own_broker.access.reload()
            time.sleep(SETTLE_S)
            assert device.publish(up).value == NOT_AUTHORIZED
            for topic in (down, topics.artifact_manifest("3" * 64)):
                hub.connection.publish(topic, b"not for you").result(WAIT_S)
            assert device.hears_nothing()
            assert device.disconnects.empty(), "reading the rules again ends no connection"
        will = will_client(own_broker, device_identity(own_broker, device_id, tmp_path), up)
        drop(will)
        assert payloads(hub, 1) == [b"not for you"]
        assert hub.events.empty()


# Other devices' topics


@pytest.mark.parametrize(
    ("protocol", "is_bridge"),
    [(paho.MQTTv31, False), (paho.MQTTv311, False), (paho.MQTTv5, False), (paho.MQTTv31, True), (paho.MQTTv311, True)],
)
def test_nothing_of_what_a_device_says_as_another_arrives_in_any_protocol(
    protocol: Any, is_bridge: bool, broker: Broker, tmp_path: Path
) -> None:
    victim, attacker = new_device_id(), new_device_id()
    forbidden = [
        *(topics.up(victim, channel) for channel in topics.UP_CHANNELS),  # type: ignore[arg-type]
        topics.up_blob(victim, "0" * 64, 0),
        topics.down_desired(victim),
        topics.down_desired(attacker),
        topics.HUB_WAKE,
        topics.TRUST_INDEX,
        topics.artifact_manifest("0" * 64),
        f"{topics.ROOT}/device/{attacker}/up/anything-else",
        f"{topics.ROOT}/device/{attacker}/up",
        "somewhere/else",
    ]
    own = topics.up(attacker, "event")
    identity = device_identity(broker, attacker, tmp_path)
    with listening(broker.endpoint("hub-test"), f"{topics.ROOT}/#") as hub:
        client = raw_client(broker, identity, protocol)
        if is_bridge:
            client.enable_bridge_mode()
        client.connect("127.0.0.1", broker.device_port)
        client.loop_start()
        for topic in forbidden:
            client.publish(topic, b"forged", qos=1, retain=True)
        client.publish(own, b"mine", qos=1).wait_for_publish(WAIT_S)
        assert hub.wait_for(Message).payload == b"mine"
        drop(client)


def test_a_will_on_anothers_topic_is_not_published(broker: Broker, tmp_path: Path) -> None:
    victim, attacker = new_device_id(), new_device_id()
    with listening(broker.endpoint("hub-test"), topics.up_filter("presence")) as hub:
        identity = device_identity(broker, attacker, tmp_path)
        drop(will_client(broker, identity, topics.up(victim, "presence")))
        drop(will_client(broker, identity, topics.up(attacker, "presence")))
        assert hub.wait_for(Message).topic == topics.up(attacker, "presence")


@pytest.mark.parametrize(
    "topic_filter",
    ["#", "+/#", "+/+/device/+/up/#", "shoal/1/device/+/up/#", "shoal/1/device/+/down/#", "shoal/1/hub/#",
     "$SYS/#", "$CONTROL/#", "$share/guess/shoal/1/device/+/up/event", "$share/guess/#"],
)  # fmt: skip
def test_a_subscription_brings_the_attacker_nothing_and_takes_nothing_from_the_hubs_workers(
    topic_filter: str, broker: Broker, tmp_path: Path
) -> None:
    victim = new_device_id()
    up = topics.up(victim, "event")
    group = topics.shared("the-hubs-secret", topics.up_filter("event"))
    with (
        connected(broker, new_device_id(), tmp_path) as attacker,
        listening(broker.endpoint("hub-worker"), group) as worker,
        listening(broker.endpoint("hub-test")) as hub,
        connected(broker, victim, tmp_path) as device,
    ):
        presence = topics.up(victim, "presence")
        assert not device.publish(presence, b"retained", retain=True).is_failure
        attacker.subscribe(topic_filter)
        for number in range(MESSAGES):
            assert not device.publish(up, b"%d" % number).is_failure
        hub.connection.publish(topics.down_desired(victim), b"secret").result(WAIT_S)
        hub.connection.publish(topics.HUB_WAKE, b"secret").result(WAIT_S)
        assert payloads(worker, MESSAGES) == [b"%d" % number for number in range(MESSAGES)]
        assert attacker.hears_nothing()
        device.publish(presence, b"", retain=True)


def test_the_name_of_the_hubs_group_is_128_random_bits_and_nowhere_to_be_read(
    own_broker: Broker, tmp_path: Path
) -> None:
    """Who knows it *can* take messages from the workers, see the next test: so nobody does."""
    secret = read_shared_group(tmp_path)
    assert len(bytes.fromhex(secret)) == 16
    assert (tmp_path / "shared-group").stat().st_mode & 0o077 == 0
    with listening(own_broker.endpoint("hub-worker"), topics.shared(secret, topics.up_filter("event"))):
        with listening(own_broker.endpoint("hub-test"), "$SYS/#", "shoal/#") as hub:
            hub.connection.publish(topics.HUB_WAKE, b"last").result(WAIT_S)
            seen = [hub.wait_for(Message)]
            while seen[-1].topic != topics.HUB_WAKE:
                seen.append(hub.wait_for(Message))
        assert not [one for one in seen if secret in one.topic or secret.encode() in one.payload]
    assert secret not in own_broker.config.log_path.read_text()
    assert secret not in (own_broker.config.folder / "mosquitto.out").read_text()


def test_the_groups_name_is_a_secret_because_a_device_that_knew_it_would_take_messages_from_the_workers(
    own_broker: Broker, tmp_path: Path
) -> None:
    """This pins a weakness of Mosquitto: the day it fails, the name need no longer be a secret."""
    victim = new_device_id()
    known = topics.shared("known", topics.up_filter("event"))
    with (
        connected(own_broker, new_device_id(), tmp_path) as attacker,
        listening(own_broker.endpoint("hub-worker"), known) as worker,
        connected(own_broker, victim, tmp_path) as device,
    ):
        attacker.subscribe(known)
        for _ in range(MESSAGES):
            device.publish(topics.up(victim, "event"))
        assert attacker.hears_nothing()
        assert worker.events.qsize() < MESSAGES


@pytest.mark.parametrize("name", ["+", "#", "%u", "d-+", "a/b", "$SYS"])
def test_a_common_name_with_wildcards_opens_nothing(name: str, broker: Broker, tmp_path: Path) -> None:
    """No hub issues one, as it makes every id itself; the broker would not take it for a pattern either."""
    victim = new_device_id()
    identity = make_identity(
        tmp_path,
        "odd",
        lambda key: certificates.make_client(name, key.public_key(), broker.devices._certificate, broker.devices._key),
    )
    with listening(broker.endpoint("hub-test"), topics.device_filter(victim)) as hub:
        client = Client(broker.device_port, broker.devices.certificate_path, identity)
        try:
            if client.connects.get(timeout=WAIT_S).is_failure:
                return
            client.subscribe(topics.device_filter(victim))
            assert client.publish(topics.up(victim, "event")).is_failure
            hub.connection.publish(topics.down_ack(victim), b"secret").result(WAIT_S)
            assert hub.wait_for(Message).payload == b"secret"
            assert client.hears_nothing()
        except queue.Empty:
            assert not client.paho.is_connected()
        finally:
            client.close()


# Learning of others


def test_the_broker_answers_alike_for_devices_that_exist_and_that_do_not(broker: Broker, tmp_path: Path) -> None:
    there, nowhere, attacker_id = new_device_id(), new_device_id(), new_device_id()
    with (
        connected(broker, there, tmp_path),
        listening(broker.endpoint("hub-test")) as hub,
        connected(broker, attacker_id, tmp_path) as attacker,
    ):
        hub.connection.publish(topics.down_desired(there), b"retained", retain=True).result(WAIT_S)
        answers = []
        for device_id in (there, nowhere):
            said = attacker.publish(topics.up(device_id, "event"))
            attacker.paho.subscribe(topics.down_desired(device_id), qos=1)
            [granted] = attacker.answers.get(timeout=WAIT_S)
            answers.append((said.value, granted.value))
        assert answers[0] == answers[1]
        assert attacker.hears_nothing()
        hub.connection.publish(topics.down_desired(there), b"", retain=True).result(WAIT_S)


# Using up the broker


def test_a_device_has_one_connection_however_many_it_opens(broker: Broker, tmp_path: Path) -> None:
    device_id = new_device_id()
    identity = device_identity(broker, device_id, tmp_path)
    with ExitStack() as opened, connected(broker, new_device_id(), tmp_path) as other:
        clients = []
        for number in range(20):
            client = Client(
                broker.device_port, broker.devices.certificate_path, identity, client_id=f"another-{number}"
            )
            opened.callback(client.close)
            client.connects.get(timeout=WAIT_S)
            clients.append(client)
        for client in clients[:-1]:
            client.disconnects.get(timeout=WAIT_S)
        assert clients[-1].paho.is_connected()
        assert other.disconnects.empty()


def test_a_topic_as_long_as_can_be_is_refused_and_the_broker_serves_on(broker: Broker, tmp_path: Path) -> None:
    device_id = new_device_id()
    with (
        connected(broker, device_id, tmp_path) as device,
        listening(broker.endpoint("hub-test"), topics.device_filter(device_id)) as hub,
    ):
        own = f"{topics.ROOT}/device/{device_id}/up/blob"
        long = f"{own}/{'a/' * 30_000}x"
        device.paho.publish(long, b"x", qos=1)
        device.paho.publish(f"{own}/{'a' * 60_000}/0", b"x", qos=1)
        with connected(broker, new_device_id(), tmp_path) as other:
            assert other.paho.is_connected()
        hub.connection.publish(topics.down_ack(device_id), b"still here").result(WAIT_S)
        received = hub.wait_for(Message)
        while received.payload != b"still here":
            assert len(received.topic.split("/")) == 8, "nothing below the topics of the contract"
            received = hub.wait_for(Message)


def raw_client(broker: Broker, identity: Identity, protocol: Any = paho.MQTTv5) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, "any", protocol=protocol, reconnect_on_failure=False)
    client.tls_set(str(broker.devices.certificate_path), str(identity.certificate), str(identity.key))
    return client


def will_client(broker: Broker, identity: Identity, topic: str) -> paho.Client:
    """Connect with a will on `topic`."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client = raw_client(broker, identity)
    client.will_set(topic, b"the will", qos=1)
    client.on_connect = lambda *arguments: answers.put(arguments)
    client.connect("127.0.0.1", broker.device_port)
    client.loop_start()
    answers.get(timeout=WAIT_S)
    client.on_connect = None
    return client


def drop(client: paho.Client) -> None:
    """End a connection without a word, so that the broker publishes its will."""
    connection = client.socket()
    assert connection is not None
    connection.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
    client.loop_stop()
