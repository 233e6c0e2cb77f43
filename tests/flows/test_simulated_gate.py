"""Gates over the wire: simulated devices answer requests, tell the hub in windows, and the hub decides by them.

Hub, broker and devices are real processes; a version that does harm is one whose requests get more errors.
"""

from collections.abc import Iterator

import pytest
from tests.flows.conftest import MODEL, Fleet
from tests.flows.test_simulated_fleet import is_known, wait_until
from tests.simulators.hub_process import HubProcess

from shoal_client.rollouts import RolloutDetail
from shoal_hub.cli.simulation import SimulationPlan, simulating

DEVICES, CANARIES = 24, 12
REQUESTS_PER_S = 40.0
HARMFUL, HARMLESS = 2, 3
GATE = {
    "metrics": [{"name": "error_rate", "margin": 0.1}],
    "min_devices": 10,
    "look_s": 1,
    "max_hold_s": 600,
    "undecided": "hold",
    "before_s": 60,
}
TRAFFIC = (
    "--retry-max-s=1",
    "--seed=11",
    f"--requests-per-s={REQUESTS_PER_S}",
    "--error-rate=0.05",
    "--device-sd=0.3",
    f"--harm={HARMFUL}=0.2",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, method="signal")]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A hub and devices that all serve version 1 and tell of their requests every second."""
    folder = tmp_path_factory.mktemp("gate")
    hub = HubProcess(folder / "hub", SHOAL_ENROL_PER_MINUTE="100000").start()
    try:
        with hub.client() as client:
            fleet = Fleet(hub, client, [])
            for seed in range(HARMLESS):
                fleet.add_version(folder / f"bundle-{seed}", seed)
            token = client.tokens.create(uses=DEVICES).token
            plan = SimulationPlan(hub.url, token, folder / "devices", DEVICES, 1, TRAFFIC)
            with simulating(plan) as simulation:
                wait_until(lambda: is_known(client), simulation.state)
                for device in client.devices.all():
                    client.devices.configure(device.id, window_s=1)
                fleet.watch(client.rollouts.start(MODEL, 1).id, "succeeded")
                yield fleet
    finally:
        hub.close()


def gated(fleet: Fleet, version: int) -> RolloutDetail:
    """Roll a version out to half of the fleet, and to the rest if the gate lets it; return the rollout at its end."""
    rollout = fleet.client.rollouts.start(MODEL, version, waves=[CANARIES, DEVICES - CANARIES], gate=GATE)
    return next(one for one in fleet.client.rollouts.watch(rollout.id) if one.has_ended)


def test_a_version_whose_requests_get_more_errors_is_stopped_and_taken_back(fleet: Fleet) -> None:
    ended = gated(fleet, HARMFUL)
    assert ended.state in {"aborted", "rolled_back"}
    assert ended.gates[-1].tested == "abort", "by its statistics, not by a limit"
    assert ended.gates[-1].metrics[0].canary.devices == CANARIES
    wait_until(lambda: not fleet.client.rollouts.show(ended.id).returning, lambda: "not all devices are back")
    counts = fleet.client.rollouts.show(ended.id).counts
    assert counts == {"rolled_back": CANARIES, "cancelled": DEVICES - CANARIES}
    serving = {device.models[MODEL].version for device in fleet.client.devices.all()}
    assert serving == {1}


def test_a_version_that_does_no_harm_passes_on_evidence_and_reaches_every_device(fleet: Fleet) -> None:
    ended = gated(fleet, HARMLESS)
    assert (ended.state, ended.counts) == ("succeeded", {"succeeded": DEVICES})
    assert [(one.wave, one.tested) for one in ended.gates] == [(0, "advance")]
