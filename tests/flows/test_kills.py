"""Hub, broker and agents killed in the middle of a rollout: the last good version serves, and it converges."""

from pathlib import Path

import pytest
from tests.flows.conftest import MODEL, Fleet

PARTS = ["controller", "ingest", "broker", "all", "agent"]


def kill(fleet: Fleet, part: str) -> None:
    """End one part as a crash would; start again what nobody else starts."""
    if part == "agent":
        fleet.agents[0].kill()
        assert not fleet.agents[0].is_running
        fleet.agents[0].start()
        return
    fleet.hub.kill(part)
    if part == "all":
        fleet.hub.start()


@pytest.mark.parametrize("part", [pytest.param(part, marks=pytest.mark.slow) for part in PARTS])
def test_a_rollout_survives_the_death_of(part: str, fleet: Fleet, tmp_path: Path) -> None:
    first, second = fleet.add_version(tmp_path / "first", 0), fleet.add_version(tmp_path / "second", 5)
    rollout = fleet.client.rollouts.start(MODEL, first, devices=fleet.device_ids)
    fleet.watch(rollout.id, "succeeded")

    update = fleet.client.rollouts.start(MODEL, second, devices=fleet.device_ids, waves=[1, 1])
    for seen in fleet.client.rollouts.watch(update.id):
        if any(one.state in {"assigned", "working"} for one in seen.deployments):
            break
    kill(fleet, part)

    assert {agent.serves(MODEL) for agent in fleet.agents} <= {first, second}
    with fleet.hub.client() as client:
        for rollout in client.rollouts.watch(update.id):
            serving = {agent.serves(MODEL) for agent in fleet.agents}
            assert serving <= {first, second}, f"neither version serves while the rollout is {rollout.state}"
        assert client.rollouts.show(update.id).state == "succeeded"
    assert [agent.serves(MODEL) for agent in fleet.agents] == [second, second]
