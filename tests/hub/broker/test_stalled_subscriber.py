"""A device that subscribes to everything and stops to read: it costs the broker a bounded amount of memory."""

import hashlib
import threading
from pathlib import Path

from tests.hub.broker.test_access import connected
from tests.simulators.broker import WAIT_S, Broker, listening

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_contract.limits import LARGE_CHUNK_BYTES
from shoal_hub.broker.config import MAX_QUEUED_BYTES

CHUNKS = 240
"""120 MiB in all: nearly twice of what the broker may queue for one client."""
SLACK_BYTES = 32 * 2**20


def test_a_stalled_subscriber_of_all_artifacts_takes_no_more_than_its_share(own_broker: Broker, tmp_path: Path) -> None:
    is_stuck, may_go_on = threading.Event(), threading.Event()

    def stop_reading(*_arguments: object) -> None:
        is_stuck.set()
        may_go_on.wait()

    chunk, sha256 = bytes(LARGE_CHUNK_BYTES), hashlib.sha256(b"").hexdigest()
    with (
        connected(own_broker, new_device_id(), tmp_path) as device,
        listening(own_broker.endpoint("hub-test")) as hub,
    ):
        device.subscribe(topics.ARTIFACT_FILTER)
        device.paho.on_message = stop_reading
        before = resident_bytes(own_broker)
        try:
            for index in range(CHUNKS):
                hub.connection.publish(topics.artifact_chunk(sha256, index), chunk).result(WAIT_S)
            assert is_stuck.wait(WAIT_S)
            assert resident_bytes(own_broker) - before < MAX_QUEUED_BYTES + SLACK_BYTES
        finally:
            may_go_on.set()


def resident_bytes(broker: Broker) -> int:
    """The broker's memory."""
    lines = Path(f"/proc/{broker.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
