"""The whole way once: enrol, fetch by chunks, activate, infer, roll back; real hub, broker and agents."""

from itertools import chain
from pathlib import Path

import numpy as np
from tests.flows.conftest import MODEL, Fleet
from tests.hub.registry.bundles import WEIGHTS

X = np.random.default_rng(3).normal(size=(40, 4)).astype(np.float32)


def test_two_agents_get_a_version_in_two_waves_serve_it_and_go_back(fleet: Fleet, tmp_path: Path) -> None:
    first, second = fleet.add_version(tmp_path / "first", 0), fleet.add_version(tmp_path / "second", 5)

    rollout = fleet.client.rollouts.start(MODEL, first, devices=fleet.device_ids, waves=[1, 1])
    rollout = fleet.watch(rollout.id, "succeeded")

    assert [(one.wave, one.state) for one in rollout.deployments] == [(0, "succeeded"), (1, "succeeded")]
    assert rollout.deployments[0].ended_at is not None
    assert rollout.deployments[1].assigned_at is not None
    assert rollout.deployments[0].ended_at <= rollout.deployments[1].assigned_at
    for index in range(2):
        agreement = (fleet.predict(index, X).argmax(axis=1) == (X @ WEIGHTS).argmax(axis=1)).mean()
        assert agreement >= 0.95

    update = fleet.client.rollouts.start(MODEL, second, devices=fleet.device_ids, waves=[2])
    fleet.watch(update.id, "succeeded")
    assert [agent.serves(MODEL) for agent in fleet.agents] == [second, second]

    fleet.client.rollouts.roll_back(update.id)
    fleet.watch(update.id, "rolled_back")
    assert [agent.serves(MODEL) for agent in fleet.agents] == [first, first]
    for device_id in fleet.device_ids:
        told = [event.message for event in fleet.client.events(device=device_id, limit=1000)]
        of_first = f"{device_id}: {MODEL} version {first}: "
        steps = [message.removeprefix(of_first).split(", ") for message in told if message.startswith(of_first)]
        assert list(chain(*steps))[:5] == ["fetch", "verify", "stage", "activate", "commit"]
