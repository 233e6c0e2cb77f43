"""The hub's connection: what it promises when broker, network or callbacks fail."""

import queue
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from tests.simulators.broker import WAIT_S, Broker, Listening, listening

from shoal_contract import topics
from shoal_hub import mqtt
from shoal_hub.addresses import Addresses
from shoal_hub.mqtt import Connected, Connection, Disconnected, Event, Message, MqttError, Subscription, _Session
from shoal_hub.settings import Settings
from shoal_hub.trust import certificates, files

TOPIC = topics.HUB_WAKE


def test_the_broker_sends_no_more_than_the_window_until_the_owner_acknowledges(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_RECEIVE_MAXIMUM", 20)
    with listening(broker.endpoint("hub-sender")) as sender, listening(broker.endpoint("hub-test"), TOPIC) as hub:
        for number in range(30):
            sender.connection.publish(TOPIC, str(number).encode()).result(WAIT_S)
        first = [hub.wait_for(Message) for _ in range(20)]
        with pytest.raises(queue.Empty):
            hub.wait_for(Message, timeout_s=0.3)
        for message in first:
            message.acknowledge()
        assert [hub.wait_for(Message).payload for _ in range(10)] == [str(number).encode() for number in range(20, 30)]


def test_a_publication_that_the_broker_refuses_fails_with_its_reason(broker: Broker) -> None:
    with listening(broker.endpoint("hub-test")) as hub, pytest.raises(MqttError, match="Not authorized"):
        hub.connection.publish("elsewhere/1", b"x").result(WAIT_S)


def test_publishing_without_a_connection_fails_at_once(broker: Broker) -> None:
    connection = Connection(broker.endpoint("hub-test"), [], queue.SimpleQueue())
    with pytest.raises(MqttError, match="no connection"):
        connection.publish(TOPIC, b"x")


def test_the_connection_comes_back_with_its_subscriptions_after_a_broker_restart(own_broker: Broker) -> None:
    with listening(own_broker.endpoint("hub-test"), TOPIC) as hub:
        own_broker.restart(keeps_what_is_retained=True)
        assert hub.wait_for(Disconnected).reason
        hub.wait_for(Connected)
        hub.connection.publish(TOPIC, b"again").result(WAIT_S)
        assert hub.wait_for(Message).payload == b"again"


def test_files_that_cannot_be_read_cost_one_try_not_the_thread(broker: Broker) -> None:
    endpoint = broker.endpoint("hub-unreadable")
    kept = endpoint.identity.key.read_bytes()
    endpoint.identity.key.unlink()
    hub = Listening(endpoint)
    try:
        assert "hub-unreadable" in hub.wait_for(Disconnected).reason
        files.write_private(endpoint.identity.key, kept)
        hub.wait_for(Connected)
    finally:
        hub.connection.stop()


def test_a_certificate_that_ends_while_the_hub_runs_is_made_anew_before_it_connects_again(
    own_broker: Broker, tmp_path: Path
) -> None:
    addresses = Addresses(
        api_url="https://localhost:1",
        api_port=1,
        broker_host="127.0.0.1",
        broker_port=own_broker.device_port,
        hub_listener_host="127.0.0.1",
        hub_listener_port=own_broker.config.hub.port,
    )
    endpoint = addresses.endpoint(Settings(data_dir=tmp_path), "hub-test")
    with listening(endpoint) as hub:
        key, issuer = files.read_ec_key(endpoint.identity.key), own_broker.hub.issuer
        ended = certificates.make_client(
            "hub-test", key.public_key(), *issuer[:2], timedelta(seconds=-1), backdate=timedelta(days=1)
        )
        files.write_certificate(endpoint.identity.certificate, ended)
        own_broker.restart(keeps_what_is_retained=True)
        hub.wait_for(Disconnected)
        hub.wait_for(Connected)


def test_what_was_on_its_way_when_the_broker_went_fails_and_is_not_sent_later(own_broker: Broker) -> None:
    with listening(own_broker.endpoint("hub-test"), TOPIC) as hub:
        own_broker.process.stop()
        for _ in range(5):
            with pytest.raises(MqttError):  # raised here or by the future: the hub may not have noticed yet
                hub.connection.publish(TOPIC, b"old").result(WAIT_S)
        own_broker.process.ensure()
        hub.wait_for(Connected)
        hub.connection.publish(TOPIC, b"new").result(WAIT_S)
        assert hub.wait_for(Message).payload == b"new"


def test_a_callback_that_fails_costs_one_connection_not_the_thread(broker: Broker) -> None:
    class Failing(queue.SimpleQueue[Event]):
        failures = 1

        def put(self, item: Event, block: bool = True, timeout: float | None = None) -> None:
            if isinstance(item, Message) and self.failures:
                self.failures -= 1
                raise RuntimeError("full")
            super().put(item, block, timeout)

    hub = Listening.__new__(Listening)
    hub.events = Failing()
    hub.connection = Connection(broker.endpoint("hub-test"), [Subscription(TOPIC)], hub.events)
    hub.connection.start()
    try:
        hub.wait_for(Connected)
        hub.connection.publish(TOPIC, b"fails")
        assert "full" in hub.wait_for(Disconnected).reason
        hub.wait_for(Connected)
        hub.connection.publish(TOPIC, b"arrives").result(WAIT_S)
        assert hub.wait_for(Message).payload == b"arrives"
    finally:
        hub.connection.stop()


def test_a_network_thread_that_died_is_noticed(broker: Broker) -> None:
    with listening(broker.endpoint("hub-test"), TOPIC) as hub:
        session = hub.connection._session
        assert session is not None
        session._client.on_disconnect = None  # nobody is told
        session._client._thread_terminate = True
        hub.wait_for(Disconnected)
        hub.wait_for(Connected)


def test_a_stop_that_came_before_there_was_a_session_to_end_is_heeded(broker: Broker) -> None:
    stopping = threading.Event()
    stopping.set()
    session = _Session(broker.endpoint("hub-test"), [], queue.SimpleQueue(), 0.0)
    running = threading.Thread(target=session.run, args=(stopping,), daemon=True)
    running.start()
    running.join(WAIT_S)
    assert not running.is_alive()


def test_stopping_ends_promptly_even_while_the_broker_is_away(own_broker: Broker) -> None:
    with listening(own_broker.endpoint("hub-test"), TOPIC) as hub:
        own_broker.process.stop()
        hub.wait_for(Disconnected)
        started = time.monotonic()
    assert time.monotonic() - started < 3.0
