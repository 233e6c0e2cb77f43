"""Power cuts while a version that waited is activated, or is taken back after its probe: a version always serves."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import NOON, Owner, under
from tests.agent.simulators.power_cut import FragileDisk, PowerCutError
from tests.agent.test_updater import roles

from shoal_agent.errors import WaitingError
from shoal_agent.updater import DeploymentFailedError
from shoal_contract.desired import DesiredModel
from shoal_contract.update_policy import Retry

pytestmark = pytest.mark.anyio
Prepared = tuple[Owner, Device, DesiredModel]


async def _served_one(folder: Path) -> tuple[Owner, Device]:
    owner = Owner(folder)
    owner.define("[bad]\nexec = ['/bin/false']\n")
    device = Device(folder, conditions=owner.conditions)
    await device.converge(device.publish(version(1), "dp-1"))
    return owner, device


async def waiting(folder: Path) -> Prepared:
    """Return a device whose candidate, version 2, has waited for its time, which is now."""
    owner, device = await _served_one(folder)
    wanted = under(device.publish(version(2), "dp-2"), activate_at=NOON + timedelta(hours=1))
    with pytest.raises(WaitingError):
        await device.converge(wanted)
    owner.passes(hours=1)
    return owner, device, wanted


async def failing(folder: Path) -> Prepared:
    """Return a device on which version 2 will not pass its probe."""
    owner, device = await _served_one(folder)
    return owner, device, under(device.publish(version(2), "dp-2"), probes=("bad",))


async def trying(folder: Path) -> Prepared:
    """Return a device on which version 2 does not pass its probe, and may be tried once more."""
    owner, device = await _served_one(folder)
    wanted = under(device.publish(version(2), "dp-2"), probes=("bad",), retries={"probe": Retry(attempts=2)})
    return owner, device, wanted


async def _converge(device: Device, wanted: DesiredModel) -> None:
    """Converge as often as it takes to an end."""
    for _ in range(3):
        try:
            await device.converge(wanted)
        except WaitingError:
            continue
        except DeploymentFailedError:
            return
        return
    pytest.fail("no end after three tries")


@pytest.mark.parametrize(
    ("prepared", "ends"), [(waiting, (2, 1, None)), (failing, (1, None, None)), (trying, (1, None, None))]
)
async def test_a_cut_before_any_step_leaves_a_version_that_serves_and_the_same_end(
    tmp_path: Path, prepared: Callable[[Path], Awaitable[Prepared]], ends: tuple[int | None, ...]
) -> None:
    _, device, wanted = await prepared(tmp_path / "dry")
    with FragileDisk().mounted() as disk:
        await _converge(device, wanted)
    await device.server.aclose()
    assert roles(device) == ends
    served = set()
    for cut in range(disk.steps):
        owner, device, wanted = await prepared(tmp_path / str(cut))
        fragile = FragileDisk(cut_before=cut)
        with fragile.mounted(), pytest.raises(PowerCutError):
            await _converge(device, wanted)
        fragile.lose_what_was_not_synced(renames=True)
        await device.server.aclose()
        again = await device.restart(conditions=owner.conditions)
        served.add(again.serves)
        await _converge(again, wanted)
        assert roles(again) == ends, f"cut before step {cut} of {disk.steps}"
        assert again.serves == ends[0]
        await again.server.aclose()
    assert served == {1, 2}
