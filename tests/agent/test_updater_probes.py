"""A version that serves has to pass its owner's probes before it is committed; else the one before is back."""

import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import NOON, Owner, under
from tests.agent.test_updater import ALL_STEPS, roles

from shoal_agent.errors import WaitingError
from shoal_agent.updater import DeploymentFailedError
from shoal_contract.desired import DesiredModel
from shoal_contract.telemetry import DeploymentEvent
from shoal_contract.update_policy import Retry

pytestmark = pytest.mark.anyio


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    made = Owner(tmp_path)
    told = tmp_path / "told"
    code = f'import os; open("{told}", "a").write(os.environ["SHOAL_MODEL"] + os.environ["SHOAL_VERSION"] + " ")'
    made.define(
        f"[good]\nexec = [{sys.executable!r}, '-c', '{code}']\n[bad]\nexec = ['/bin/false']\n"
        f"[stuck]\nexec = ['/bin/sleep', '60']\n[switch]\nexec = ['/bin/test', '-e', '{tmp_path / 'switch'}']\n"
    )
    return made


@pytest.fixture
async def device(tmp_path: Path, owner: Owner) -> AsyncIterator[Device]:
    """A device that serves version 1."""
    made = Device(tmp_path, conditions=owner.conditions)
    await made.converge(made.publish(version(1), "dp-1"))
    made.steps.clear()
    yield made
    await made.server.aclose()


async def cut_off(device: Device, wanted: DesiredModel) -> None:
    """Converge, and be cancelled amid the probes, as by a new wish or the agent's end."""
    with anyio.CancelScope() as scope:

        def on_step(event: DeploymentEvent) -> None:
            if event.step == "probe":
                scope.cancel()

        await device.updater.converge(wanted, (1, 1), on_step)
    assert scope.cancelled_caught


async def test_a_version_is_committed_after_its_probes_while_it_serves(device: Device, tmp_path: Path) -> None:
    wanted = under(device.publish(version(2), "dp-2"), probes=("good",))
    await device.converge(wanted)
    assert device.told == [*ALL_STEPS[:-1], "probe", "commit"]
    assert (device.serves, roles(device), (tmp_path / "told").read_text()) == (2, (2, 1, None), "tiny2 ")


async def test_a_version_whose_probe_fails_is_rolled_back_and_told_as_such(device: Device) -> None:
    wanted = under(device.publish(version(2), "dp-2"), probes=("good", "bad"))
    with pytest.raises(DeploymentFailedError, match="probe 'bad' did not pass") as failed:
        await device.converge(wanted)
    assert failed.value.step == "roll_back"
    assert (device.serves, roles(device), device.told[-3:]) == (1, (1, None, None), ["probe", "roll_back", "fail"])
    rolled_back = device.steps[-2]
    assert rolled_back.problem is not None
    assert rolled_back.problem.code == "probe"
    report = device.updater.file.slots.to_report()
    assert report.candidate is not None
    assert (report.active.version, report.candidate.version, report.candidate.state) == (1, 2, "bad")  # type: ignore[union-attr]

    again = await device.restart()
    with pytest.raises(DeploymentFailedError) as still:
        await again.converge(wanted)
    assert (still.value.step, again.serves, again.told) == ("roll_back", 1, [])
    await again.server.aclose()


async def test_a_probe_that_this_device_does_not_have_fails_the_deployment_before_anything_is_fetched(
    device: Device,
) -> None:
    device.source.delivered.clear()
    wanted = under(device.publish(version(2), "dp-2"), probes=("lens",))
    with pytest.raises(DeploymentFailedError, match="this device has bad, good, stuck, switch") as failed:
        await device.converge(wanted)
    assert "probes.toml" in failed.value.remedy
    assert (device.serves, device.source.delivered.total()) == (1, 0)


async def test_a_broken_file_of_probes_fails_no_deployment_that_asks_for_none(device: Device, owner: Owner) -> None:
    owner.define("[good")
    await device.converge(device.publish(version(2), "dp-2"))
    assert device.serves == 2


async def test_probes_end_with_the_time_for_an_activation(device: Device) -> None:
    wanted = under(device.publish(version(2), "dp-2"), probes=("stuck",), activate_timeout_s=1.0)
    with (
        anyio.fail_after(20),
        pytest.raises(DeploymentFailedError, match="probes stuck of tiny.*not done 1 s"),
    ):
        await device.converge(wanted)
    assert (device.serves, roles(device)) == (1, (1, None, None))


async def test_a_probe_is_tried_again_as_often_as_the_policy_says_with_the_last_good_version_between(
    device: Device, tmp_path: Path
) -> None:
    wanted = under(device.publish(version(2), "dp-2"), probes=("switch",), retries={"probe": Retry(attempts=3)})
    with pytest.raises(WaitingError) as waiting:
        await device.converge(wanted)
    assert (waiting.value.step, waiting.value.to_problem().code) == ("retry", "probe")
    assert (device.serves, roles(device), device.told[-1]) == (1, (1, None, 2), "roll_back")
    (tmp_path / "switch").touch()
    device.source.is_down = True
    await device.converge(wanted)
    assert (device.serves, roles(device)) == (2, (2, 1, None))


async def test_a_start_amid_the_probes_serves_the_version_and_has_it_probed(
    device: Device, owner: Owner, tmp_path: Path
) -> None:
    wanted = under(device.publish(version(2), "dp-2"), probes=("stuck", "good"))
    await cut_off(device, wanted)
    assert (device.serves, device.updater.file.slots.active.state) == (2, "unproven")  # type: ignore[union-attr]
    again = await device.restart(conditions=owner.conditions)
    assert (again.serves, again.updater.file.slots.active.state) == (2, "unproven")  # type: ignore[union-attr]
    owner.define((tmp_path / "probes.toml").read_text().replace("['/bin/sleep', '60']", "['/bin/true']"))
    await again.converge(wanted)
    assert (again.serves, roles(again), again.told) == (2, (2, 1, None), ["activate", "probe", "commit"])
    await again.server.aclose()


async def test_a_version_that_many_starts_find_amid_its_probes_gives_way(device: Device, owner: Owner) -> None:
    wanted = under(device.publish(version(2), "dp-2"), probes=("stuck",), retries={"process": Retry(attempts=2)})
    await cut_off(device, wanted)
    for serves in (2, 1):
        again = await device.restart(conditions=owner.conditions)
        assert again.serves == serves
        await again.server.aclose()
    assert again.told == ["roll_back", "fail"]
    with pytest.raises(DeploymentFailedError, match="starts did not prove it"):
        await again.converge(wanted)


async def test_a_new_wish_amid_the_probes_finds_the_last_good_version_at_once(device: Device) -> None:
    first = device.publish(version(1), "dp-1")
    await cut_off(device, under(device.publish(version(2), "dp-2"), probes=("stuck",)))
    assert device.serves == 2
    device.source.is_down = True
    await device.converge(first.model_copy(update={"deployment": "dp-3"}))
    assert (device.serves, roles(device)) == (1, (1, None, None))


async def test_an_unproven_version_does_not_outlive_its_deployment_s_time(device: Device, owner: Owner) -> None:
    wanted = under(device.publish(version(2), "dp-2"), probes=("stuck",), expires_at=NOON + timedelta(hours=1))
    await cut_off(device, wanted)
    owner.passes(hours=1)
    again = await device.restart(conditions=owner.conditions)
    assert (again.serves, roles(again)) == (1, (1, None, None))
    with pytest.raises(DeploymentFailedError) as failed:
        await again.converge(wanted)
    assert failed.value.problem.code == "expired"
    assert again.updater.file.slots.to_report().candidate is None, "late, and not bad"
    await again.server.aclose()


async def test_a_version_whose_probes_end_after_its_deployment_s_time_is_not_committed(
    device: Device, owner: Owner
) -> None:
    wanted = under(device.publish(version(2), "dp-2"), probes=("good",), expires_at=NOON + timedelta(hours=1))

    def on_step(event: DeploymentEvent) -> None:
        device.steps.append(event)
        if event.step == "probe":
            owner.passes(hours=1)

    with pytest.raises(DeploymentFailedError, match="was to be done by") as failed:
        await device.updater.converge(wanted, (1, 1), on_step)
    assert (failed.value.problem.code, failed.value.step) == ("expired", "roll_back")
    assert (device.serves, roles(device), device.told[-3:]) == (1, (1, None, None), ["probe", "roll_back", "fail"])


async def test_what_another_deployment_asks_for_amid_its_probes_is_rolled_back_too(device: Device) -> None:
    wanted = device.publish(version(2), "dp-2")
    await cut_off(device, under(wanted, probes=("stuck",)))
    again = under(wanted.model_copy(update={"deployment": "dp-3"}), probes=("bad",))
    with pytest.raises(DeploymentFailedError, match="'bad' did not pass"):
        await device.converge(again)
    assert (device.serves, roles(device), device.told[-2:]) == (1, (1, None, None), ["roll_back", "fail"])


async def test_the_wait_for_another_try_ends_when_the_deployment_expires(device: Device) -> None:
    policy = {"probes": ("bad",), "retries": {"probe": Retry(attempts=9, wait_s=3600)}}
    wanted = under(device.publish(version(2), "dp-2"), expires_at=NOON + timedelta(seconds=90), **policy)
    with pytest.raises(WaitingError) as waiting:
        await device.converge(wanted)
    assert waiting.value.wait_s == 90
