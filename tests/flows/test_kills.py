"""Hub, broker and agents killed in the middle of a rollout: the last good version serves, and it converges."""

from pathlib import Path

import pytest
from tests.flows.conftest import MODEL, Fleet

from shoal_client.rollouts import RolloutDetail

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


def has_begun(rollout: RolloutDetail) -> bool:
    """Nothing has been seen of it but that it exists."""
    return rollout.state != ""


def is_on_its_way(rollout: RolloutDetail) -> bool:
    return any(one.state in {"assigned", "working"} for one in rollout.deployments)


def is_between_waves(rollout: RolloutDetail) -> bool:
    return any(one.state == "succeeded" for one in rollout.deployments)


MOMENTS = [has_begun, is_on_its_way, is_between_waves]


@pytest.mark.parametrize("part", [pytest.param(part, marks=pytest.mark.slow) for part in PARTS])
def test_a_rollout_survives_the_death_of(part: str, fleet: Fleet, tmp_path: Path) -> None:
    versions = [fleet.add_version(tmp_path / f"version{seed}", seed) for seed in range(len(MOMENTS) + 1)]
    rollout = fleet.client.rollouts.start(MODEL, versions[0], devices=fleet.device_ids)
    fleet.watch(rollout.id, "succeeded")

    for moment, before, wanted in zip(MOMENTS, versions, versions[1:], strict=False):
        with fleet.hub.client() as client:
            update = client.rollouts.start(MODEL, wanted, devices=fleet.device_ids, waves=[1, 1])
            for seen in client.rollouts.watch(update.id):
                if moment(seen):
                    break
        kill(fleet, part)

        with fleet.hub.client() as client:
            for rollout in client.rollouts.watch(update.id):
                serving = {agent.serves(MODEL) for agent in fleet.agents}
                assert serving <= {before, wanted}, f"killed when it {moment.__name__}: {serving} while {rollout.state}"
            assert client.rollouts.show(update.id).state == "succeeded"
        assert [agent.serves(MODEL) for agent in fleet.agents] == [wanted, wanted]
