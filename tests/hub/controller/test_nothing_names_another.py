"""What every device may read names no device: artifacts and trust metadata, while a fleet is rolled out to."""

import queue
from pathlib import Path

from sqlmodel import Session
from tests.hub.broker.test_access import connected
from tests.simulators.broker import listening
from tests.simulators.hub_threads import Hub

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_hub.devices.tables import Device
from shoal_hub.mqtt import Message


def test_a_device_that_reads_all_it_may_learns_of_no_other(hub: Hub, tmp_path: Path) -> None:
    hub.add_version(1)
    devices = [hub.add_device(), hub.add_device()]
    with hub.database.transaction() as session:
        rename(session, devices[0].device_id, "the-kitchen")
    spy_id = new_device_id()
    with connected(hub.broker, spy_id, tmp_path) as spy, listening(hub.broker.endpoint("hub-test"), "#") as hears:
        for topic_filter in ("#", "shoal/1/artifact/#", "shoal/1/trust/#", "$SYS/#"):
            spy.subscribe(topic_filter)
        hub.wait_for_state(hub.roll_out(1), "succeeded")
        read = []
        while True:
            try:
                read.append(spy.messages.get(timeout=0.5))
            except queue.Empty:
                break
        assert any(message.topic.endswith("/manifest") for message in read)
        text = b"\n".join(message.topic.encode() + b" " + bytes(message.payload) for message in read)
        for name in (*(device.device_id for device in devices), "the-kitchen"):
            assert name.encode() not in text
        assert any(devices[0].device_id in hears.wait_for(Message).topic for _ in range(100)), (
            "it was all there to read"
        )
        assert not [message for message in read if message.topic.startswith(f"{topics.ROOT}/device/")]


def rename(session: Session, device_id: str, name: str) -> None:
    device = session.get_one(Device, device_id)
    device.name = name
    session.add(device)
