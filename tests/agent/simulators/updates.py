"""The updates that a power cut or a full disk interrupts, each from the wish to the collection of what is old."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.agent.simulators.device import Device, version
from tests.agent.simulators.director import NOW, ref_of
from tests.agent.simulators.disk_operations import Recording
from tests.agent.simulators.recorded_disk import RecordedDisk, tree_of
from tests.agent.simulators.retained import RetainedTopics
from tests.agent.test_deltas import ENCRYPTED, GOOD_PATCH, KINDS, PLAIN, Kind, file_of, offer, publish
from tests.agent.test_updater import other_answer

from shoal_agent.outbox import Outbox
from shoal_agent.settings import OutboxSettings
from shoal_agent.updater import DeploymentFailedError
from shoal_contract.desired import DesiredModel
from shoal_contract.telemetry import DeploymentEvent

OUTBOX = "outbox.sqlite"


class Update(NamedTuple):
    """One update. `wanted` is None where the model is to be removed.

    Attributes:
        name: For people.
        prepare: Makes a device in a folder, and what it is to serve next.
        old: What serves before; None for nothing.
        new: What serves in the end.
        is_refused: Whether the version is a bad one, so that the deployment fails and `new` is what serves on.
    """

    name: str
    prepare: Callable[[Path], Awaitable[tuple[Device, DesiredModel | None]]]
    old: int | None
    new: int | None
    is_refused: bool = False


@dataclass
class Recorded:
    """What an update asked of the disk, and from where it fetched."""

    update: Update
    wanted: DesiredModel | None
    source: RetainedTopics
    recording: Recording
    end: dict[str, bytes | None]
    """The disk afterwards, as it really is."""
    told: list[tuple[int, str]] = field(default_factory=list)
    """Each step that the hub is told of, and how many operations it took until the outbox had it for good."""


async def device_of(folder: Path, kind: Kind, *, has_delta: bool = False) -> tuple[Device, DesiredModel]:
    """Return a device that has served version 3 and serves version 1, and the wish for version 2."""
    device = Device(folder)
    await device.converge(publish(device, 3, is_encrypted=kind.base))
    await device.converge(publish(device, 1, is_encrypted=kind.base))
    wanted = publish(device, 2, is_encrypted=kind.new)
    if has_delta:
        offer(device, kind, GOOD_PATCH)
    return device, wanted


async def _chunks(folder: Path) -> tuple[Device, DesiredModel]:
    return await device_of(folder, PLAIN)


async def _delta(folder: Path) -> tuple[Device, DesiredModel]:
    return await device_of(folder, PLAIN, has_delta=True)


async def _encrypted(folder: Path) -> tuple[Device, DesiredModel]:
    return await device_of(folder, ENCRYPTED)


async def _encrypted_delta(folder: Path) -> tuple[Device, DesiredModel]:
    return await device_of(folder, ENCRYPTED, has_delta=True)


async def _plain_to_encrypted(folder: Path) -> tuple[Device, DesiredModel]:
    return await device_of(folder, KINDS[3])


async def _first(folder: Path) -> tuple[Device, DesiredModel]:
    device = Device(folder)
    return device, publish(device, 1, is_encrypted=False)


async def _rollback(folder: Path) -> tuple[Device, DesiredModel]:
    device, wanted = await device_of(folder, PLAIN)
    first = publish(device, 1, is_encrypted=False)
    await device.converge(wanted)
    return device, first.model_copy(update={"deployment": "dp-back"})


async def _unproven(folder: Path) -> tuple[Device, DesiredModel]:
    """The power has gone before between the activation and the commit: this start has to prove it."""
    device, wanted = await device_of(folder, PLAIN)
    await device.converge(wanted)
    file = device.updater.file
    active = file.slots.active
    assert active is not None
    file.put(file.slots.model_copy(update={"active": active.model_copy(update={"state": "unproven"})}))
    return device, wanted


async def _bad(folder: Path) -> tuple[Device, DesiredModel]:
    device, _ = await device_of(folder, PLAIN)
    file = file_of(2)
    bad = version(
        2,
        lambda variant: other_answer(variant).model_copy(
            update={"sha256": ref_of(file).sha256, "size_bytes": len(file)}
        ),
    )
    return device, device.publish(bad, "dp-bad", file=file)


async def _removal(folder: Path) -> tuple[Device, None]:
    device, _ = await device_of(folder, PLAIN)
    return device, None


UPDATES = (
    Update("by chunks", _chunks, 1, 2),
    Update("by delta", _delta, 1, 2),
    Update("encrypted", _encrypted, 1, 2),
    Update("encrypted delta", _encrypted_delta, 1, 2),
    Update("plain to encrypted", _plain_to_encrypted, 1, 2),
    Update("first version", _first, None, 1),
    Update("rollback", _rollback, 2, 1),
    Update("start, unproven", _unproven, 2, 2),
    Update("bad version", _bad, 1, 1, is_refused=True),
    Update("removal", _removal, 1, None),
)


def open_outbox(folder: Path) -> Outbox:
    return Outbox(folder / OUTBOX, OutboxSettings(), lambda: 1)


async def record(update: Update, folder: Path) -> Recorded:
    """Carry an update out in a folder, and take down what it asks of the disk."""
    device, wanted = await update.prepare(folder)
    await device.server.aclose()
    outbox = open_outbox(folder)
    outbox.put("event", "before", b"{}")
    disk, told = RecordedDisk(folder), list[tuple[int, str]]()

    def tell(event: DeploymentEvent) -> None:
        outbox.put_event(event, NOW)
        for name in (OUTBOX, f"{OUTBOX}-wal"):
            disk.observe(folder / name)
        told.append((len(disk.recording.operations), event.step))

    with disk.mounted():
        again = Device(folder, device.source)
        await again.updater.boot()
        await carry_out(update, again, wanted, tell)
    await again.server.aclose()
    recorded = Recorded(update, wanted, device.source, disk.recording, tree_of(folder), told)
    outbox.close()
    return recorded


async def carry_out(
    update: Update, device: Device, wanted: DesiredModel | None, tell: Callable[[DeploymentEvent], None]
) -> None:
    """Converge, then delete what nothing needs any more, as the daemon does."""
    try:
        if wanted is None:
            await device.updater.remove()
        else:
            await device.updater.converge(wanted, (1, 1), tell)
    except DeploymentFailedError:
        if not update.is_refused:
            raise
    else:
        assert not update.is_refused, "the bad version was taken for good"
    device.blobs.collect(device.updater.file.slots.artifacts())
