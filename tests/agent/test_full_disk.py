"""The disk is full at any operation of an update: the old version serves, and once there is room the new one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.simulators.device import Device
from tests.agent.simulators.power_cut_matrix import left_over
from tests.agent.simulators.recorded_disk import Before, RecordedDisk, full_at, full_from, lay_down
from tests.agent.simulators.updates import OUTBOX, UPDATES, Recorded, Update, carry_out, record

from shoal_agent.errors import DiskError

pytestmark = pytest.mark.anyio
FULL = "No space left on device"
EVERY = 7
"""Of the operations of an update, at how many the quick sample's disk is full once."""


def stages(recorded: Recorded) -> range:
    """Number the operations of an update, without those of its outbox, which is a database of its own."""
    return range(sum(not one.path.startswith(OUTBOX) for one in recorded.recording.operations))


async def run_full(recorded: Recorded, device: Device, before: Before) -> str:
    """Start a device and carry the update out as far as a full disk lets it; return what it complains of."""
    with RecordedDisk(device.folder, before).mounted():
        try:
            await device.updater.boot()
            await carry_out(recorded.update, device, recorded.wanted, device.steps.append)
        except DiskError as error:
            return f"{error}; {error.remedy}"
        except OSError as error:  # of the collection, after all else; the daemon logs it and collects again
            return str(error) if device.serves == recorded.update.new else "collected too early"
    return ""


async def start_full(recorded: Recorded, folder: Path) -> tuple[int | None, str]:
    """Start a device on a full disk; return what it serves, and what it complains of."""
    device, complaint = Device(folder, recorded.source), ""
    with RecordedDisk(folder, full_from(0)).mounted():
        try:
            await device.updater.boot()
        except DiskError as error:
            complaint = str(error)
    served = device.serves
    await device.server.aclose()
    return served, complaint


async def examine_full(recorded: Recorded, before: Before, folder: Path) -> None:
    """Interrupt an update by a full disk, restart on it, and let it go on once there is room."""
    update = recorded.update
    lay_down(dict(recorded.recording.start), folder)
    device = Device(folder, recorded.source)
    complaint = await run_full(recorded, device, before)
    assert not complaint or FULL in complaint
    assert device.serves in {update.old, update.new}
    served, complaint = await start_full(recorded, folder)
    assert served in {update.old, update.new}
    assert not complaint or FULL in complaint

    await carry_out(update, device, recorded.wanted, device.steps.append)
    assert device.serves == update.new
    assert left_over(device) == ""
    await device.server.aclose()


of_each_update = pytest.mark.parametrize("update", UPDATES, ids=[update.name for update in UPDATES])
of_each_fullness = pytest.mark.parametrize("full", [full_from, full_at], ids=["from-then-on", "for-a-moment"])


@of_each_fullness
@of_each_update
async def test_a_disk_that_is_full_at_some_operation_delays_an_update_and_fails_none(
    update: Update, full: Callable[[int], Before], tmp_path: Path
) -> None:
    recorded = await record(update, tmp_path / "recorded")
    for number in stages(recorded)[::EVERY]:
        await examine_full(recorded, full(number), tmp_path / str(number))


@pytest.mark.slow
@pytest.mark.timeout(240)
@of_each_fullness
@of_each_update
async def test_a_disk_that_is_full_at_any_operation_delays_an_update_and_fails_none(
    update: Update, full: Callable[[int], Before], tmp_path: Path
) -> None:
    recorded = await record(update, tmp_path / "recorded")
    for number in stages(recorded):
        await examine_full(recorded, full(number), tmp_path / str(number))
