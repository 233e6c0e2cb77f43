"""A stolen device: an operator's one word, and within seconds the real broker is shut to the real agent."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.flows.conftest import MODEL, Fleet

from shoal_client import ClientError

LIMIT_S = 5.0
X = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
ENDED = "link to the broker: connection ended"
SHUT_OUT = "a certificate that is revoked"


def wait_until_it_says(fleet: Fleet, index: int, text: str, limit_s: float) -> None:
    tick, deadline_s = threading.Event(), time.monotonic() + limit_s
    while text not in fleet.agents[index].log():
        assert time.monotonic() < deadline_s, fleet.agents[index].log()[-2000:]
        tick.wait(0.02)


@pytest.mark.slow
def test_a_revoked_device_is_off_within_five_seconds_serves_on_and_the_fleet_goes_on_without_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    first, second = fleet.add_version(tmp_path / "first", 0), fleet.add_version(tmp_path / "second", 5)
    fleet.watch(fleet.client.rollouts.start(MODEL, first).id, "succeeded")
    stolen, other = fleet.device_ids

    fleet.client.devices.revoke(stolen, reason="stolen")
    wait_until_it_says(fleet, 0, ENDED, LIMIT_S)
    wait_until_it_says(fleet, 0, SHUT_OUT, 60.0)
    assert f"shoal devices show {stolen}" in fleet.agents[0].log()
    assert ENDED not in fleet.agents[1].log()
    assert SHUT_OUT not in fleet.agents[1].log()
    assert fleet.predict(0, X).shape == (4, 3)

    update = fleet.client.rollouts.start(MODEL, second)
    assert [one.device_id for one in fleet.watch(update.id, "succeeded").deployments] == [other]
    assert [agent.serves(MODEL) for agent in fleet.agents] == [first, second]

    fleet.hub.kill("broker")
    shown = fleet.client.devices.show(stolen)
    assert shown.cut_off_at is not None
    assert (shown.presence, shown.revoke_reason) == ("offline", "stolen")
    with pytest.raises(ClientError, match="revoked"):
        fleet.client.devices.configure(stolen, heartbeat_s=30)

    fleet.client.devices.decommission(stolen)
    assert [one.id for one in fleet.client.devices.list()] == [other]
    assert {one.id for one in fleet.client.devices.list(decommissioned=True)} == {stolen, other}
    wait_until(fleet, stolen)


def wait_until(fleet: Fleet, device_id: str) -> None:
    """Wait until the broker, which was killed, keeps nothing of the device any more."""
    tick, deadline_s = threading.Event(), time.monotonic() + 60.0
    while fleet.client.devices.show(device_id).cleared_at is None:
        assert time.monotonic() < deadline_s
        tick.wait(0.2)
