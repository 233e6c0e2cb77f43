"""The broker loses all that it had, or hub and broker are away while a device boots; real hub, broker and agents."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.flows.conftest import MODEL, Fleet, running_fleet
from tests.hub.registry.bundles import replace_model, wide_onnx, write_bundle
from tests.simulators.broker import listening
from tests.simulators.tcp_proxy import relaying

from shoal_agent.identity import load_identity
from shoal_contract import topics
from shoal_contract.trust import TrustIndex
from shoal_hub.addresses import Addresses
from shoal_hub.mqtt import Message
from shoal_hub.settings import Settings

X = np.eye(4, dtype=np.float32)
IN_THE_MIDDLE_BYTES = 250 * 1024
"""Down to the device: of a file of 384 KiB, after what a start brings."""
WAIT_S = 60.0
ARTIFACTS = f"{topics.ROOT}/artifact/"
TRUST = topics.TRUST_FILTER.removesuffix("#")
MARK = f"{topics.ROOT}/hub/test-mark"
"""Comes back after all that was retained when it was published."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, method="signal")]  # cleans up, too


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet without deltas, so that whole files travel."""
    with running_fleet(tmp_path, SHOAL_DELTA_MIN_BYTES=str(2**30)) as running:
        yield running


def add_large_version(fleet: Fleet, folder: Path, seed: int) -> int:
    bundle = write_bundle(folder, seed=seed)
    replace_model(bundle, wide_onnx(seed))
    return fleet.register(bundle)


@contextmanager
def in_the_middle(fleet: Fleet, then: Callable[[], None]) -> Iterator[threading.Event]:
    """Start the first agent behind a relay that has something happen in the middle of its next transfer."""
    agent, happened = fleet.agents[0], threading.Event()

    def happen() -> None:
        then()
        happened.set()

    port = load_identity(agent.data / "identity").broker_port
    with relaying(port, IN_THE_MIDDLE_BYTES, happen) as relay:
        agent.stop()
        described = agent.data / "identity" / "hub.json"
        described.write_text(json.dumps(json.loads(described.read_text()) | {"broker_port": relay.port}))
        agent.start()
        yield happened
        described.write_text(json.dumps(json.loads(described.read_text()) | {"broker_port": port}))


def lose_everything(fleet: Fleet) -> None:
    """End the broker as a crash would, together with the disk that it kept retained messages on."""
    pid = fleet.hub.pid_of("broker")
    for file in (fleet.hub.data / "broker" / "data").iterdir():
        file.unlink()
    os.kill(pid, signal.SIGKILL)


def retained(fleet: Fleet) -> dict[str, bytes]:
    """Return what the broker holds, by topic, without artifacts."""
    settings, found = Settings(data_dir=fleet.hub.data), dict[str, bytes]()
    with listening(Addresses.read(settings).endpoint(settings, "hub-eye"), f"{topics.ROOT}/#") as ears:
        ears.connection.publish(MARK, b"-", qos=1, retain=False).result(WAIT_S)
        while (message := ears.wait_for(Message, WAIT_S)).topic != MARK:
            if message.is_retained and not message.topic.startswith(ARTIFACTS):
                found[message.topic] = message.payload
    return found


def lasting(held: dict[str, bytes]) -> set[str]:
    """Return the topics that are to be there whatever is rolled out: metadata of TUF gives way to newer metadata."""
    own = {topics.TRUST_INDEX, topics.TRUST_TIMESTAMP}
    return {topic for topic in held if not topic.startswith(TRUST)} | own


def missing(fleet: Fleet, wanted: set[str]) -> set[str]:
    """Return what the broker lacks of the topics, and of the metadata that its index of trust names."""
    held = retained(fleet)
    index = held.get(topics.TRUST_INDEX)
    names = TrustIndex.model_validate_json(index).names if index else ()
    return (wanted | {f"{TRUST}{name}" for name in names}) - held.keys()


def wait_until_nothing_is_missing(fleet: Fleet, wanted: set[str]) -> None:
    tick, deadline_s = threading.Event(), time.monotonic() + WAIT_S
    while lacking := missing(fleet, wanted):
        assert time.monotonic() < deadline_s, f"the broker still lacks {sorted(lacking)}"
        tick.wait(0.5)


def test_a_broker_that_loses_all_it_had_in_the_middle_of_a_transfer_gets_it_back_from_the_hub(
    fleet: Fleet, tmp_path: Path
) -> None:
    first, second = (add_large_version(fleet, tmp_path / f"version-{seed}", seed) for seed in (0, 1))
    fleet.watch(fleet.client.rollouts.start(MODEL, first).id, "succeeded")
    with in_the_middle(fleet, lambda: lose_everything(fleet)) as lost:
        before = lasting(retained(fleet))
        assert {topics.down_desired(device_id) for device_id in fleet.device_ids} < before
        update = fleet.client.rollouts.start(MODEL, second)
        assert lost.wait(WAIT_S), "the transfer has not come to its middle"
        assert fleet.agents[0].serves(MODEL) == first

        fleet.watch(update.id, "succeeded")

        assert [agent.serves(MODEL) for agent in fleet.agents] == [second, second]
        wait_until_nothing_is_missing(fleet, before)
    for agent in fleet.agents:
        assert "Traceback" not in agent.log()


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_device_that_reboots_while_hub_and_broker_are_away_serves_the_last_good_version(
    fleet: Fleet, tmp_path: Path, *, is_encrypted: bool
) -> None:
    first, second = (add_large_version(fleet, tmp_path / f"version-{seed}", seed) for seed in (0, 1))
    if is_encrypted:
        fleet.client.models.encrypt(MODEL, first)
    fleet.watch(fleet.client.rollouts.start(MODEL, first).id, "succeeded")
    (kitchen, _), before = fleet.agents, fleet.predict(0, X)
    with in_the_middle(fleet, kitchen.kill) as cut:
        update = fleet.client.rollouts.start(MODEL, second)
        assert cut.wait(WAIT_S), "the transfer has not come to its middle"
    fleet.hub.stop()
    fleet.hub.close()

    for _ in range(2):  # the second start, too, has nobody to ask
        kitchen.start()
        assert kitchen.serves(MODEL) == first
        np.testing.assert_array_equal(fleet.predict(0, X), before)
        kitchen.kill()

    kitchen.start()
    fleet.hub.start()
    fleet.watch(update.id, "succeeded")
    assert kitchen.serves(MODEL) == second
    assert "Traceback" not in kitchen.log()
