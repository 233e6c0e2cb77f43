"""Messages that a device has the broker retain and nobody may: cleared, or they would fill the broker's memory."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select
from tests.hub.broker.test_access import connected
from tests.simulators.broker import WAIT_S, Broker, Listening, listening, running_broker
from tests.simulators.hub_threads import Hub, running_hub

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_hub.controller.revocations import STRAYS
from shoal_hub.events.tables import EventRow
from shoal_hub.mqtt import Message


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running_broker(tmp_path) as broker, running_hub(tmp_path, broker) as running:
        yield running


def strays_of(device_id: str) -> list[str]:
    chunks = [topics.up_blob(device_id, f"{number:064x}", 0) for number in range(10)]
    return [topics.up(device_id, "event"), topics.up(device_id, "telemetry"), *chunks]


def leave_strays(broker: Broker, folder: Path) -> str:
    device_id = new_device_id()
    with connected(broker, device_id, folder) as device:
        for topic in strays_of(device_id):
            assert not device.publish(topic, b"stray", retain=True).is_failure
    return device_id


def see_cleared(hears: Listening, expected: set[str]) -> None:
    """Wait until each of these topics was cleared."""
    while expected:
        message = hears.wait_for(Message)
        if not message.payload:
            expected.discard(message.topic)


def retained(broker: Broker) -> list[str]:
    with listening(broker.endpoint("hub-look"), *STRAYS, topics.HUB_WATERMARK) as hears:
        hears.connection.publish(topics.HUB_WATERMARK, b"last").result(WAIT_S)
        found = []
        while (message := hears.wait_for(Message)).payload != b"last":
            found += [message.topic] if message.is_retained and message.topic != topics.HUB_WATERMARK else []
    return found


def test_what_a_device_leaves_retained_is_cleared_as_it_comes_and_told(hub: Hub, tmp_path: Path) -> None:
    with listening(hub.broker.endpoint("hub-test"), *STRAYS) as hears:
        device_id = leave_strays(hub.broker, tmp_path)
        see_cleared(hears, set(strays_of(device_id)))
    assert retained(hub.broker) == []
    with hub.database.session() as session:
        told = session.exec(select(EventRow.message).where(EventRow.kind == "message_dropped")).all()
    assert any(device_id in text for text in told)


def test_what_came_while_the_hub_was_away_is_cleared_at_the_start_of_the_controller(hub: Hub, tmp_path: Path) -> None:
    """Mosquitto 2.0.11 gives ingest's shared subscriptions retained messages, which no MQTT 5 broker should."""
    hub.controller.stop()
    hub.ingest.stop()
    device_id = leave_strays(hub.broker, tmp_path)
    assert sorted(retained(hub.broker)) == sorted(strays_of(device_id))
    hub.start_controller()
    deadline_s = time.monotonic() + WAIT_S
    while retained(hub.broker):
        assert time.monotonic() < deadline_s
    hub.start_ingest()


def test_presence_and_reported_states_stay_retained(hub: Hub) -> None:
    device = hub.add_device()
    wanted = {topics.up(device.device_id, "presence"), topics.up(device.device_id, "reported")}
    with listening(hub.broker.endpoint("hub-test"), *wanted) as hears:
        assert {hears.wait_for(Message).topic for _ in wanted} == wanted
