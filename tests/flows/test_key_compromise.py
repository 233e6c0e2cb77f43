"""The drill of docs/guides/key-rotation.md with a real hub, broker and agents: every online key is in foreign hands.

The thief orders by the stolen director's key, with the highest generation there is, while one device is off. The
operators rotate, root twice among the rest; the device that heard the thief comes back, and so does the one that slept.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tests.flows.conftest import MODEL, Fleet
from tests.simulators.broker import listening

from shoal_client.tuf import Rotation
from shoal_contract import topics
from shoal_contract.desired import MAX_GENERATION, DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE
from shoal_hub.addresses import Addresses
from shoal_hub.settings import Settings
from shoal_hub.trust.director import Director

WAIT_S = 60.0
STOLEN = ("timestamp", "snapshot", "models", f"models/{MODEL}", "director")


def wait_until(holds: Callable[[], bool], what: str) -> None:
    tick, deadline_s = threading.Event(), time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        tick.wait(0.1)


def order(fleet: Fleet, device_id: str, director: Director) -> None:
    """Publish, in the hub's place at the broker, that a device shall serve nothing any more."""
    now = datetime.now(timezone.utc)
    state = DesiredState(
        device_id=device_id, epoch=1, generation=MAX_GENERATION, issued_at=now, expires_at=now + timedelta(days=30)
    )
    envelope = director.sign(state.to_bytes(), DESIRED_STATE_TYPE)
    settings = Settings(data_dir=fleet.hub.data)
    with listening(Addresses.read(settings).endpoint(settings, "hub-thief")) as thief:
        thief.connection.publish(topics.down_desired(device_id), envelope, qos=1, retain=True).result(WAIT_S)


def follows(fleet: Fleet, index: int, epoch: int) -> bool:
    """Whether a device reports the state that stands for it, of this epoch."""
    device = fleet.client.devices.show(fleet.device_ids[index])
    return device.desired is not None and device.desired.epoch == epoch and device.desired.is_reported


@pytest.mark.slow
def test_after_a_theft_of_every_online_key_a_rotation_brings_the_whole_fleet_back(fleet: Fleet, tmp_path: Path) -> None:
    heard, was_off = fleet.agents
    first = fleet.add_version(tmp_path / "first", seed=1)
    fleet.watch(fleet.client.rollouts.start(MODEL, str(first)).id, "succeeded")
    stolen = Director.open(fleet.hub.data / "trust")
    was_off.stop()
    order(fleet, heard.device_id, stolen)
    wait_until(lambda: heard.serves(MODEL) is None, "the device obeys the thief, whose key is the director's")

    for role in ("root", *STOLEN, "root"):
        status = fleet.client.trust.rotate(Rotation(role=role))
    assert (status.staged, status.director_epoch) == ([], 2)
    wait_until(lambda: follows(fleet, 0, epoch=2), "the next director's state outranks the highest generation")
    wait_until(lambda: heard.serves(MODEL) == first, "the device serves again what the hub wants")
    order(fleet, heard.device_id, stolen)

    was_off.start()
    wait_until(lambda: follows(fleet, 1, epoch=2), "the device that slept through two root rotations converges")
    second = fleet.add_version(tmp_path / "second", seed=2)
    fleet.watch(fleet.client.rollouts.start(MODEL, str(second)).id, "succeeded")
    assert [agent.serves(MODEL) for agent in fleet.agents] == [second, second], "the old key's order changes nothing"
