"""Room for an update: what is needed, what is free, and that only what nothing needs goes for it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.simulators.device import Device, file_of, version
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.owner import Owner

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import FetchError, NoRoomError
from shoal_agent.room import Room, Shortage
from shoal_agent.settings import UpdateSettings
from shoal_agent.slots import SlotFile
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.transfer import describe

pytestmark = pytest.mark.anyio
BLOCK = 4096
sizes = st.integers(0, 10_000)


@given(sizes, st.integers(-5000, 10_000), sizes, st.dictionaries(st.text(min_size=1), sizes, max_size=5), sizes)
def test_what_goes_is_enough_and_no_file_goes_in_vain(
    needed: int, free: int, kept: int, evictable: dict[str, int], budget: int
) -> None:
    shortage = Shortage(needed, free, kept, evictable, budget)
    chosen = shortage.to_evict

    def fits(gone: list[str]) -> bool:
        freed = sum(evictable[one] for one in gone)
        is_within = not budget or kept + sum(evictable.values()) - freed + needed <= budget
        return needed == 0 or (needed <= free + freed and is_within)

    assert (chosen is None) == (not fits(list(evictable)))
    if chosen:
        assert fits(list(chosen))
        assert not fits(list(chosen[:-1]))


def put(blobs: BlobStore, data: bytes) -> ArtifactRef:
    ref = ref_of(data)
    blobs.put(ref, [data])
    return ref


def test_only_what_nothing_needs_and_nobody_fetches_is_deleted(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    kept, claimed, left = (put(blobs, bytes([n]) * BLOCK * 2) for n in range(3))
    partial = describe(b"9" * BLOCK, 16 * 1024)
    opened = blobs.open_partial(partial)
    opened.write(0, b"9" * BLOCK)
    opened.close()
    wanted = ref_of(b"w" * BLOCK * 3)
    room = Room(blobs, UpdateSettings(reserve_bytes=0, max_models_bytes=8 * BLOCK), lambda: {kept.sha256})
    room.claim("other", [claimed])

    looked = room.look([wanted])
    assert looked.evictable == {left.sha256: 2 * BLOCK, partial.sha256: BLOCK}
    assert blobs.has(left.sha256), "looking deletes nothing"
    room.make("fetching tiny", [wanted])
    assert [blobs.has(one.sha256) for one in (kept, claimed, left)] == [True, True, False]
    assert blobs.has_partial(partial.sha256), "no more goes than has to"

    with pytest.raises(NoRoomError) as refused:
        room.make("fetching tiny version 2", [ref_of(b"v" * BLOCK * 9)])
    assert f"{9 * BLOCK} bytes needed" in str(refused.value)
    assert f"{4 * BLOCK} left of the budget of {8 * BLOCK}" in str(refused.value)
    assert f"deleting the 1 files that nothing needs gives {BLOCK}" in str(refused.value)
    assert "--max-models-mb" in refused.value.remedy
    assert blobs.has_partial(partial.sha256), "what would not be enough is not deleted"

    room.release("other")
    assert claimed.sha256 in room.look().evictable


def test_what_has_come_already_is_not_needed_again(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    data = bytes(16 * 1024) + b"x" * 16 * 1024
    partial = blobs.open_partial(describe(data, 16 * 1024))
    partial.write(1, data[16 * 1024 :])
    partial.close()
    room = Room(blobs, UpdateSettings(), set)
    assert room.look([ref_of(data)]).needed_bytes == 16 * 1024
    assert room.look([put(blobs, b"whole")]).needed_bytes == 0


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    owner = Owner(tmp_path)
    made = Device(tmp_path, conditions=owner.conditions)
    owner.conditions.room = Room(
        made.blobs, UpdateSettings(reserve_bytes=0), lambda: set(made.updater.file.slots.artifacts())
    )
    yield made
    await made.server.aclose()


async def test_an_update_that_does_not_fit_says_so_before_a_byte_of_it_is_fetched(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    room = device.updater.conditions.room
    assert room is not None
    wanted = device.publish(version(2), "dp-2")
    full = UpdateSettings(reserve_bytes=device.blobs.free_bytes() * 2)
    room.settings, device.source.delivered = full, type(device.source.delivered)()
    with pytest.raises(NoRoomError, match="fetching tiny version 2: .* bytes needed, 0 free beyond the reserve"):
        await device.converge(wanted)
    assert (device.serves, device.source.delivered.total(), room._claims) == (1, 0, {})
    assert device.updater.file.slots.failure is None, "it is tried again"

    room.settings = UpdateSettings(reserve_bytes=0)
    await device.converge(wanted)
    assert device.serves == 2


def test_what_another_deployment_fetched_is_let_go_and_what_this_one_did_is_not(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    first = put(blobs, b"1" * BLOCK)
    room = Room(blobs, UpdateSettings(), set)
    room.begin("models/tiny", "dp-1")
    room.claim("models/tiny", [first])
    room.begin("models/tiny", "dp-1")
    assert room.look().evictable == {}
    room.begin("trials/tiny", "t-1")
    room.release("trials/tiny")
    assert room.look().evictable == {}, "a trial of the same model is another's"
    room.begin("models/tiny", "dp-2")
    assert room.look().evictable == {first.sha256: BLOCK}


async def test_what_has_come_stays_claimed_while_the_attempt_waits_to_be_tried_again(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    room, wanted = device.updater.conditions.room, device.publish(version(2), "dp-2")
    assert room is not None
    last = max(topic for topic in device.source.messages if ref_of(file_of(2)).sha256 in topic)
    chunk = device.source.messages.pop(last)
    with pytest.raises(FetchError):
        await device.converge(wanted)
    assert wanted.manifest.sha256 not in room.look().evictable

    trial = replace(device.updater, claimant="trials/tiny", file=SlotFile(device.folder / "trials", "tiny"))
    await trial.converge(device.publish(version(3), "t-1"), (1, 1), device.steps.append)
    assert wanted.manifest.sha256 not in room.look().evictable, "what a trial lets go of is its own"

    device.source.messages[last] = chunk
    await device.converge(wanted)
    assert (device.serves, room._claims) == (2, {})


async def test_a_wish_that_is_dropped_leaves_nothing_claimed(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    room, wanted = device.updater.conditions.room, device.publish(version(2), "dp-2")
    assert room is not None
    lost = [topic for topic in device.source.messages if ref_of(file_of(2)).sha256 in topic]
    for topic in lost:
        del device.source.messages[topic]
    with pytest.raises(FetchError):
        await device.converge(wanted)
    assert room._claims
    await device.updater.remove()
    assert room._claims == {}


async def test_older_versions_files_go_for_an_update_and_those_in_roles_stay(device: Device) -> None:
    for number in (1, 2, 3):
        await device.converge(device.publish(version(number), f"dp-{number}"))
    room = device.updater.conditions.room
    assert room is not None
    files = [ref_of(file_of(number)).sha256 for number in (1, 2, 3)]
    kept = room.look().kept_bytes
    assert files[0] in room.look().evictable
    room.settings = UpdateSettings(reserve_bytes=0, max_models_bytes=kept + 2 * BLOCK)
    await device.converge(device.publish(version(4), "dp-4"))
    assert device.serves == 4
    assert [device.blobs.has(sha256) for sha256 in files] == [False, True, True]
