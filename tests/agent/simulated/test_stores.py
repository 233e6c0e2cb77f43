"""Stores on a disk in memory do what the real ones do, hold a verified file once, and lose what a power cut takes."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.simulators.device import Device, version
from tests.checks.blobs import CHUNKS, DATA, MANIFEST, REF, BlobChecks, fill

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import DiskError
from shoal_agent.settings import OutboxSettings
from shoal_agent.simulated.disk import Disk, Mount
from shoal_agent.simulated.journal import Activation
from shoal_agent.simulated.shared_blobs import SharedBlobs
from shoal_agent.simulated.stores import MemoryBlobs, MemorySlots
from shoal_agent.slots import Failure, Slots, slot_for


def empty_disk(shared: SharedBlobs) -> Disk:
    return Disk.empty(shared, OutboxSettings(), lambda: 1)


def mounted(disk: Disk, fails: Callable[[], bool] = lambda: False) -> Mount:
    return Mount(disk, fails, lambda: None)


@pytest.fixture
def shared(tmp_path: Path) -> SharedBlobs:
    return SharedBlobs(tmp_path / "artifacts")


class TestBlobsOnDisk(BlobChecks):
    """The agent's own store."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> BlobStore:
        return BlobStore(tmp_path / "blobs")


class TestBlobsInMemory(BlobChecks):
    """The simulated one."""

    @pytest.fixture
    def blobs(self, shared: SharedBlobs) -> BlobStore:
        return MemoryBlobs(mounted(empty_disk(shared)))


def files(shared: SharedBlobs) -> list[str]:
    return [path.name for path in shared.folder.iterdir()]


def test_a_file_lies_once_for_all_disks_and_is_gone_with_the_last_that_has_it(shared: SharedBlobs) -> None:
    stores = [MemoryBlobs(mounted(empty_disk(shared))) for _ in range(3)]
    held = []
    for blobs in stores:
        partial = blobs.open_partial(MANIFEST)
        for index, chunk in enumerate(CHUNKS):
            partial.write(index, bytes(bytearray(chunk)))  # another object with the same bytes, as from a socket
        held.append(partial)
    for partials in zip(*(partial.parts() for partial in held), strict=True):  # type: ignore[attr-defined]
        assert len({id(part) for part in partials}) == 1
    for blobs, partial in zip(stores, held, strict=True):
        blobs.finish(partial, REF)
    assert files(shared) == [REF.sha256]

    for blobs in stores[:2]:
        blobs.discard(REF.sha256)
    assert (stores[2].read(REF.sha256, len(DATA)), stores[0].has(REF.sha256)) == (DATA, False)
    stores[2].collect(())
    assert files(shared) == []


def test_one_disks_wrong_chunk_is_not_anothers(shared: SharedBlobs) -> None:
    good, bad = (MemoryBlobs(mounted(empty_disk(shared))).open_partial(MANIFEST) for _ in range(2))
    fill(good, set(range(5)))
    bad.write(1, CHUNKS[2])
    fill(bad, {0, 2, 3, 4})
    for partial in (good, bad):
        partial.find_wrong()
    assert (good.missing, bad.missing) == (set(), {1})


@given(cut_at=st.integers(1, 8), seed=st.integers(0, 100))
def test_a_power_cut_keeps_nothing_that_was_written_after_it_and_no_wrong_chunk(
    tmp_path_factory: pytest.TempPathFactory, cut_at: int, seed: int
) -> None:
    cuts: list[str] = []
    disk = empty_disk(SharedBlobs(tmp_path_factory.mktemp("artifacts")))
    mount = Mount(disk, lambda: False, lambda: cuts.append("cut"))
    mount.cut_power_at(cut_at)
    blobs = MemoryBlobs(mount)
    try:
        partial = blobs.open_partial(MANIFEST)
        fill(partial, set(range(5)))
        blobs.finish(partial, REF)
    except DiskError:
        pass
    else:
        pytest.fail("eight writes at most, and the power stayed on")
    assert (cuts, blobs.has(REF.sha256)) == (["cut"], False)
    with pytest.raises(DiskError, match="power is off"):
        mount.write("anything")

    disk.lose_unsynced(random.Random(seed))  # noqa: S311 - of a test
    again = MemoryBlobs(mounted(disk)).open_partial(MANIFEST)
    assert again.missing >= set(range(max(0, cut_at - 2), 5)), "chunks that the cut came before"
    fill(again, again.missing.copy())
    assert MemoryBlobs(mounted(disk)).finish(again, REF).read_bytes() == DATA


def test_a_failed_write_changes_nothing(shared: SharedBlobs) -> None:
    disk = empty_disk(shared)
    with pytest.raises(DiskError, match="disk fails it"):
        MemoryBlobs(mounted(disk, lambda: True)).put(REF, [DATA])
    with pytest.raises(DiskError, match="disk fails it"):
        MemorySlots(mounted(disk, lambda: True), "tiny").put(
            Slots().failed(
                Failure(deployment="dp-1", version=1, problem=DiskError("x").to_problem(), manifest="0" * 64)
            )
        )
    assert (disk.artifacts, disk.slots, files(shared)) == (set(), {}, [])


def test_roles_are_kept_across_mounts_and_each_activation_is_noted_once(shared: SharedBlobs, tmp_path: Path) -> None:
    disk, device = empty_disk(shared), Device(tmp_path)
    wanted = device.publish(version(1), "dp-1")
    slot = slot_for(version(1).variants[0], wanted, (1, 1))
    slots = MemorySlots(mounted(disk), "tiny")
    staged = Slots().staged(slot)
    for step in (staged, staged.activated(), staged.activated().booted(), staged.activated().committed()):
        slots.put(step)  # a boot that finds the version unproven activates nothing either
    slots.put(slots.slots.proved("dp-2", (1, 2)))  # the same version for another deployment is no activation
    assert disk.activations == [Activation("tiny", 1, "dp-1")]

    again = MemorySlots(mounted(disk), "tiny")
    assert again.slots == slots.slots
    again.forget()
    assert MemorySlots(mounted(disk), "tiny").slots.is_empty()
