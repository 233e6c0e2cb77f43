"""Simulated devices at a real hub and broker: rollouts come to rest as they should, with each kind of fault."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.flows.conftest import MODEL, Fleet
from tests.simulators.hub_process import HubProcess

from shoal_agent.simulated.faults import DeviceFaults, FaultRates, FaultTimes
from shoal_client import ShoalClient
from shoal_hub.cli.simulation import FleetState, Simulation, SimulationPlan, simulating

DEVICES = 24
SEED = 7
WAIT_S = 100.0
QUICK = ("--retry-max-s=1", "--online-s=4", "--offline-s=1", "--power-off-s=0.3", "--slow-bytes-per-s=20000")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A hub with two versions, and no device."""
    folder = tmp_path_factory.mktemp("simulated")
    process = HubProcess(folder / "hub", SHOAL_ENROL_PER_MINUTE="100000").start()
    try:
        with process.client() as client:
            fleet = Fleet(process, client, [])
            for seed in (0, 5):
                fleet.add_version(folder / f"bundle-{seed}", seed)
            yield fleet
    finally:
        process.close()


@contextmanager
def simulated(hub: Fleet, data: Path, *options: str) -> Iterator[Simulation]:
    """Run simulated devices for the length of the block, and take them from the hub after it."""
    token = hub.client.tokens.create(uses=DEVICES).token
    plan = SimulationPlan(hub.hub.url, token, data, DEVICES, 2, (*QUICK, f"--seed={SEED}", *options))
    try:
        with simulating(plan) as simulation:
            wait_until(lambda: is_known(hub.client), simulation.state)
            yield simulation
    finally:
        for device in hub.client.devices.all():
            hub.client.devices.decommission(device.id)


def is_known(client: ShoalClient) -> bool:
    return sum(bool(device.targets) for device in client.devices.all()) == DEVICES


def wait_until(holds: Callable[[], bool], tell: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, tell()
        time.sleep(0.2)


def at_rest(simulation: Simulation, version: int) -> FleetState:
    """Wait until every device has power and says that a version is applied; what it says may be half a second old."""
    expected = {f"{MODEL}/{version}": DEVICES}
    wait_until(lambda: (now := simulation.state()).active == expected and is_settled(now), simulation.state)
    state = simulation.state()
    assert (state.active, state.activated_twice) == (expected, 0)
    return state


def is_settled(state: FleetState) -> bool:
    return state.sections == {"applied": DEVICES}


def roll_out(hub: Fleet, version: int, waves: list[int]) -> str:
    """Roll a version out, however many fail, and return the rollout's id when it has ended."""
    rollout_id = hub.client.rollouts.start(MODEL, version, waves=waves, max_failures=DEVICES).id
    hub.watch(rollout_id, "succeeded")
    return rollout_id


def versions_by_the_hub(client: ShoalClient) -> dict[str, int | None]:
    return {device.name: device.models[MODEL].version for device in client.devices.all() if MODEL in device.models}


def test_a_rollout_in_waves_ends_with_every_device_active(hub: Fleet, tmp_path: Path) -> None:
    with simulated(hub, tmp_path) as simulation:
        rollout = hub.client.rollouts.show(roll_out(hub, 1, [4, 8]))
        assert (rollout.waves, rollout.counts) == ([4, 20], {"succeeded": DEVICES})
        ends = [one.ended_at for one in rollout.deployments if one.wave == 0 and one.ended_at]
        starts = [one.assigned_at for one in rollout.deployments if one.wave == 1 and one.assigned_at]
        assert (len(ends), len(starts)) == (4, 20)
        assert max(ends) <= min(starts)

        roll_out(hub, 2, [])
        state = simulation.stop()
        assert (state.active, state.activated_twice, state.faults) == ({f"{MODEL}/2": DEVICES}, 0, {})
        assert {(one.version, one.devices) for one in state.versions} == {(1, DEVICES), (2, DEVICES)}
        gone = lambda: {device.presence for device in hub.client.devices.all()} == {"offline"}  # noqa: E731
        wait_until(gone, lambda: "devices said no farewell")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["offline=0.5", "slow_link=0.5", "power_cut=0.9", "bad_disk=0.2"])
def test_a_fleet_comes_to_rest_on_the_version_whatever_its(fault: str, hub: Fleet, tmp_path: Path) -> None:
    with simulated(hub, tmp_path, f"--fault={fault}") as simulation:
        for version in (1, 2):
            roll_out(hub, version, [4])
        state = at_rest(simulation, 2)
        assert state.faults[fault.partition("=")[0]] > 0
        wait_until(lambda: set(versions_by_the_hub(hub.client).values()) == {2}, lambda: "the hub does not know")


@pytest.mark.slow
def test_the_devices_on_which_a_version_fails_are_those_of_the_seed(hub: Fleet, tmp_path: Path) -> None:
    (variant,) = hub.client.models.version(MODEL, 1).variants
    rates = FaultRates(failing_model=0.4)
    expected = {
        f"sim-{index:06d}"
        for index in range(DEVICES)
        if DeviceFaults(SEED, index, rates, FaultTimes()).fails_model(variant.sha256)
    }
    assert 0 < len(expected) < DEVICES
    with simulated(hub, tmp_path, "--fault=failing_model=0.4") as simulation:
        rollout = hub.client.rollouts.show(roll_out(hub, 1, []))
        names = {device.id: device.name for device in hub.client.devices.all()}
        assert {names[one.device_id] for one in rollout.deployments if one.state == "failed"} == expected
        state = simulation.stop()
        assert state.active == {f"{MODEL}/1": DEVICES - len(expected)}
        assert state.sections == {"applied": DEVICES - len(expected), "failed": len(expected)}


@pytest.mark.slow
def test_power_cuts_and_bad_disks_in_a_rollback_leave_no_device_on_the_wrong_version(
    hub: Fleet, tmp_path: Path
) -> None:
    with simulated(hub, tmp_path, "--fault=power_cut=0.5", "--fault=bad_disk=0.1") as simulation:
        roll_out(hub, 1, [])
        update = roll_out(hub, 2, [8])
        hub.client.rollouts.roll_back(update)
        hub.watch(update, "rolled_back")
        state = at_rest(simulation, 1)
        assert state.faults["power_cut"] > 0


def artifact_bytes(client: ShoalClient, device: str) -> int:
    months = client.traffic.months(device=device)
    return sum(one.categories["artifacts_broker"].received_bytes for one in months if one.categories)


@pytest.mark.slow
def test_a_budget_holds_what_it_does_not_allow_and_the_ledger_tells_what_came(hub: Fleet, tmp_path: Path) -> None:
    (variant,) = hub.client.models.version(MODEL, 1).variants
    with simulated(hub, tmp_path) as simulation:
        short, free = [device.id for device in hub.client.devices.all()][:2]
        hub.client.traffic.limit("devices", short, max_bytes_per_month=1)
        hub.client.devices.configure(free, heartbeat_s=1)
        rollout_id = hub.client.rollouts.start(MODEL, 1, devices=[short, free]).id
        wait_until(lambda: simulation.state().sections == {"applied": 1, "held": 1}, simulation.state)

        hub.client.traffic.limit("devices", short)
        hub.watch(rollout_id, "succeeded")
        wait_until(lambda: artifact_bytes(hub.client, free) >= variant.size_bytes, lambda: "the ledger is not told")


def shoal_command(hub: Fleet, *arguments: str) -> "subprocess.Popen[str]":
    """Start the operators' command line with `--json`."""
    command = [sys.executable, "-m", "shoal_hub", *arguments, "--json"]
    variables = {**os.environ, **hub.hub.environment}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told_by(command: "subprocess.Popen[str]") -> dict[str, object]:
    """Wait for the end of a command that was started; return what it says."""
    with command:
        out, err = command.communicate(timeout=WAIT_S)
    assert command.returncode == 0, err
    found: dict[str, object] = json.loads(out)
    return found


def shoal(hub: Fleet, *arguments: str) -> dict[str, object]:
    return told_by(shoal_command(hub, *arguments))


@pytest.mark.slow
def test_the_command_cleans_up_after_itself_and_goes_on_with_the_devices_that_it_kept(
    hub: Fleet, tmp_path: Path
) -> None:
    simulate = ("fleet", "simulate", "--devices=4", "--run-s=1", "--processes=2")
    folder = tmp_path / "kept"
    kept = shoal(hub, *simulate, f"--data={folder}", "--keep", "--group=trial")
    assert (kept["decommissioned"], kept["processes"]) == (0, 2)
    ids = {device.id for device in hub.client.devices.all(group="trial")}
    assert len(ids) == 4

    again = shoal(hub, *simulate, f"--data={folder}")
    assert again["decommissioned"] == 4, "the second run has the devices of the first"
    assert list(hub.client.devices.all()) == []
    assert {one.id for one in hub.client.devices.all(decommissioned=True)} >= ids
    assert all(token.revoked_at or token.uses_left == 0 for token in hub.client.tokens.list()[:2])
    assert shoal(hub, *simulate)["decommissioned"] == 4


def test_a_service_manager_ends_the_command_like_ctrl_c(hub: Fleet) -> None:
    running = shoal_command(hub, "fleet", "simulate", "--devices=4", "--processes=1")
    try:
        wait_until(lambda: len(list(hub.client.devices.all())) == 4, lambda: "not all are enrolled")
    finally:
        running.terminate()
    assert told_by(running)["decommissioned"] == 4
    assert list(hub.client.devices.all()) == []
