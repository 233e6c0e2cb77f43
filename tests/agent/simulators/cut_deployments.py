"""Deployments that the power cut ends, before each step that the updater really takes on the disk."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.agent.simulators.device import Device
from tests.agent.simulators.power_cut import FragileDisk, PowerCutError

from shoal_contract.desired import DesiredModel


async def cut_deployments(
    folder: Path, prepared: Callable[[Path], Awaitable[tuple[Device, DesiredModel]]]
) -> AsyncIterator[tuple[int, Device, DesiredModel]]:
    """Yield, for each step, its number, the device as the cut before it leaves its disk, and what it was to serve.

    Args:
        folder: Where the devices' disks lie, one a step.
        prepared: Makes a device in a folder, and what it is to serve next.
    """
    device, wanted = await prepared(folder / "dry")
    with FragileDisk().mounted() as disk:
        await device.converge(wanted)
    await device.server.aclose()
    assert disk.steps > 12, "a deployment has more steps than that"
    for cut in range(disk.steps):
        device, wanted = await prepared(folder / str(cut))
        fragile = FragileDisk(cut_before=cut)
        with fragile.mounted(), pytest.raises(PowerCutError):
            await device.converge(wanted)
        fragile.lose_what_was_not_synced(renames=True)
        await device.server.aclose()
        yield cut, device, wanted
