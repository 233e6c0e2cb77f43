"""Mosquitto under supervision: kept data, adoption after the hub was killed, a clear error when it cannot start."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.simulators.broker import WAIT_S, Broker, listening

from shoal_contract import topics
from shoal_hub.broker.errors import BrokerError
from shoal_hub.broker.process import BrokerProcess
from shoal_hub.broker.program import find_mosquitto
from shoal_hub.mqtt import Message


def test_what_is_retained_outlives_a_restart_even_on_another_port(own_broker: Broker) -> None:
    topic = topics.artifact_manifest("2" * 64)
    with listening(own_broker.endpoint("hub-test")) as hub:
        hub.connection.publish(topic, b"kept", retain=True).result(WAIT_S)
    own_broker.process.stop()
    assert (own_broker.config.database_dir / "mosquitto.db").stat().st_size > 0
    with socket.socket() as taken:  # holds the old port, so that the new one is another
        taken.bind(("127.0.0.1", own_broker.config.hub.port))
        fresh = Broker(own_broker.config.folder.parent)
        fresh.process.ensure()
    try:
        with listening(fresh.endpoint("hub-test"), topic) as hub:
            assert hub.wait_for(Message).payload == b"kept"
    finally:
        fresh.process.stop()


def test_a_second_hub_adopts_the_running_broker(own_broker: Broker) -> None:
    pid = own_broker.process.pid
    adopter = BrokerProcess(find_mosquitto(), own_broker.config)
    assert adopter.ensure() is True
    assert adopter.pid == pid


def test_an_adopted_broker_can_be_stopped(own_broker: Broker) -> None:
    adopter = BrokerProcess(find_mosquitto(), own_broker.config)
    adopter.ensure()
    adopter.stop()
    assert adopter.pid is None
    assert own_broker.process.pid is None


def test_a_broker_with_another_configuration_is_replaced(own_broker: Broker) -> None:
    old = own_broker.process.pid
    config = replace(own_broker.config, devices=replace(own_broker.config.devices, host="localhost"))
    successor = BrokerProcess(find_mosquitto(), config)
    assert successor.ensure() is False
    assert successor.pid not in {None, old}
    successor.stop()


def test_a_broker_that_is_told_to_read_its_rules_while_it_starts_does_not_end_by_it(own_broker: Broker) -> None:
    def reload_at_once() -> None:
        while not own_broker.access.reload():
            pass

    for _ in range(3):
        own_broker.process.stop()
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(reload_at_once)
            own_broker.process.ensure()
            told.result(WAIT_S)
        with listening(own_broker.endpoint("hub-test")):
            assert own_broker.process.pid is not None


def test_a_pid_file_that_names_another_process_is_not_believed(own_broker: Broker) -> None:
    own_broker.process.stop()
    own_broker.config.pid_path.write_text(str(os.getpid()))
    assert own_broker.process.ensure() is False
    assert own_broker.process.pid != os.getpid()


def test_a_taken_port_is_told_with_the_brokers_own_words(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", broker.device_port))
        taken.listen()
        with pytest.raises(BrokerError, match="Address already in use"):
            broker.process.ensure()
