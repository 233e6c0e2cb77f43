"""A kept disk is the agent's own stores in a folder: it outlives its process, and a cut ends what writes to it."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent.simulators.device import Device, version
from tests.checks.blobs import CHUNKS, DATA, MANIFEST, REF, BlobChecks, fill

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import DiskError
from shoal_agent.settings import OutboxSettings
from shoal_agent.simulated.disk import Mount
from shoal_agent.simulated.journal import Activation
from shoal_agent.simulated.kept import KeptDisk, stores_on
from shoal_agent.simulated.shared_blobs import SharedBlobs
from shoal_agent.slots import Slots, slot_for

MODEL = "tiny"


def opened(folder: Path) -> KeptDisk:
    return KeptDisk.open(SharedBlobs(folder / "shared"), OutboxSettings(), lambda: 1, folder / "disk")


def mounted(disk: KeptDisk) -> Mount:
    return Mount(disk, lambda: False, lambda: None)


class TestKeptBlobs(BlobChecks):
    """The store of artifacts on a kept disk."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> BlobStore:
        return stores_on(mounted(opened(tmp_path))).blobs()


def test_everything_is_there_for_the_next_process(tmp_path: Path) -> None:
    disk, wanted = opened(tmp_path), Device(tmp_path / "device").publish(version(1), "dp-1")
    stores, staged = stores_on(mounted(disk)), Slots().staged(slot_for(version(1).variants[0], wanted, (1, 1)))
    for step in (staged, staged.activated(), staged.activated().committed()):
        stores.slots(MODEL).put(step)
    stores.blobs().put(REF, [DATA])
    disk.outbox.put("event", "x", b"{}")
    disk.outbox.close()  # SQLite lets nobody else in while its process lives

    again = opened(tmp_path)
    stores = stores_on(mounted(again))
    assert (stores.models(), stores.slots(MODEL).slots) == ([MODEL], staged.activated().committed())
    assert (again.activations, again.outbox.depth()) == ([Activation(MODEL, 1, "dp-1")], 1)
    assert stores.blobs().read(REF.sha256, len(DATA)) == DATA
    stores.slots(MODEL).forget()
    assert stores_on(mounted(again)).models() == []
    again.close()


def test_after_a_power_cut_nothing_of_the_old_life_is_written(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    mount = mounted(disk)
    stores = stores_on(mount)
    blobs, slots = stores.blobs(), stores.slots(MODEL)
    partial = blobs.open_partial(MANIFEST)
    fill(partial, {0, 1})
    blobs.mark_passing(REF.sha256)
    before = sorted((path.name, path.stat().st_size) for path in (tmp_path / "disk" / "blobs").iterdir())
    mount.cut_power()
    writes: list[Callable[[], object]] = [
        lambda: partial.write(2, CHUNKS[2]),
        lambda: blobs.put(REF, [DATA]),
        lambda: blobs.finish(partial, REF),
        lambda: blobs.collect(()),
        lambda: blobs.evict(REF.sha256),
        lambda: blobs.discard(REF.sha256),
        lambda: blobs.mark_passing(REF.sha256),
        lambda: blobs.check(REF.sha256),
        slots.forget,
    ]
    for write in writes:
        with pytest.raises(DiskError, match="power is off"):
            write()
    partial.close()
    assert before == sorted((path.name, path.stat().st_size) for path in (tmp_path / "disk" / "blobs").iterdir())

    disk.lose_unsynced(random.Random(1))  # noqa: S311 - of a test
    again = stores_on(mounted(disk)).blobs().open_partial(MANIFEST)
    assert again.missing >= {2, 3, 4}, "chunks that the cut came before"
    fill(again, again.missing.copy())
    assert stores_on(mounted(disk)).blobs().finish(again, REF).read_bytes() == DATA
    disk.close()
