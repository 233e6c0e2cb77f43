"""A new version by a delta from one that is here: less travels, and whatever is wrong with it, the whole file comes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests.agent.simulators.cut_deployments import cut_deployments
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.director import DEVICE, ref_of
from tests.agent.simulators.retained import CHUNK
from tests.fixtures import tiny

from shoal_agent.errors import DiskError, FetchError, LinkError
from shoal_contract import topics
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.encryption import EncryptedFile, KeyUse, delta_key, encrypt_file, wrap_key
from shoal_contract.manifest import Variant
from shoal_contract.transfer import DeltaRef, describe
from shoal_numerics.compressed import compress
from shoal_numerics.delta import encode_delta

pytestmark = pytest.mark.anyio
KEYS = {1: b"\x11" * 32, 2: b"\x22" * 32, 3: b"\x33" * 32}
PADDING_BYTES, CHANGED_BYTES = 100_000, 30_000
HEADER_BYTES = 88


class Kind(NamedTuple):
    """Which of the two versions is encrypted."""

    base: bool
    new: bool


Devices = Callable[[Kind], Awaitable[tuple[Device, DesiredModel]]]
KINDS = [Kind(base=False, new=False), Kind(base=True, new=True), Kind(base=True, new=False), Kind(base=False, new=True)]
PLAIN, ENCRYPTED = KINDS[0], KINDS[1]
of_each_kind = pytest.mark.parametrize(
    "kind", KINDS, ids=["plain", "encrypted", "encrypted to plain", "plain to encrypted"]
)
plain_and_encrypted = pytest.mark.parametrize("kind", [PLAIN, ENCRYPTED], ids=["plain", "encrypted"])


def file_of(number: int) -> bytes:
    """Return the tiny model with a large `doc_string`, of which each version changes a part."""
    noise = bytearray(np.random.default_rng(0).integers(97, 123, PADDING_BYTES, dtype=np.uint8).tobytes())
    noise[:CHANGED_BYTES] = np.random.default_rng(number).integers(97, 123, CHANGED_BYTES, dtype=np.uint8).tobytes()
    length = bytes([PADDING_BYTES & 0x7F | 0x80, PADDING_BYTES >> 7 & 0x7F | 0x80, PADDING_BYTES >> 14])
    return (tiny.FILES / "classify.onnx").read_bytes() + b"\x32" + length + bytes(noise)


def travelling(number: int, *, is_encrypted: bool) -> bytes:
    return encrypt_file(file_of(number), KEYS[number]) if is_encrypted else file_of(number)


def publish(device: Device, number: int, *, is_encrypted: bool) -> DesiredModel:
    """Publish a version's manifest and file; return the section that asks for it."""
    plain, file = ref_of(file_of(number)), travelling(number, is_encrypted=is_encrypted)
    secret = EncryptedFile(sha256=ref_of(file).sha256, size_bytes=len(file)) if is_encrypted else None

    def change(variant: Variant) -> Variant:
        return variant.model_copy(update={"sha256": plain.sha256, "size_bytes": plain.size_bytes, "encrypted": secret})

    wanted = device.publish(version(number, change), f"dp-{number}", file=file)
    use, recipient = KeyUse(DEVICE, "tiny", number), device.updater.encryption_key.private.public_key()
    return wanted.model_copy(update={"key": wrap_key(KEYS[number], recipient, use) if is_encrypted else None})


def offer(device: Device, kind: Kind, patch: bytes, **changes: object) -> DeltaRef:
    """Publish a patch from version 1 to 2 as the hub does, and name it in version 2's transfer manifest."""
    key = delta_key(KEYS[1] if kind.base else None, KEYS[2] if kind.new else None)
    sealed = encrypt_file(patch, key) if key else patch
    plain = ref_of(patch)
    secret = EncryptedFile(sha256=ref_of(sealed).sha256, size_bytes=len(sealed)) if key else None
    delta = DeltaRef(sha256=plain.sha256, size_bytes=plain.size_bytes, encrypted=secret).model_copy(update=changes)
    device.source.publish(sealed)
    name(device, kind, delta)
    return delta


def name(device: Device, kind: Kind, delta: DeltaRef) -> None:
    """Name a delta in version 2's transfer manifest."""
    base, new = travelling(1, is_encrypted=kind.base), travelling(2, is_encrypted=kind.new)
    manifest = describe(new, CHUNK).model_copy(update={"deltas": {ref_of(base).sha256: delta}})
    device.source.messages[topics.artifact_manifest(manifest.sha256)] = manifest.to_bytes()


async def prepared(folder: Path, kind: Kind) -> tuple[Device, DesiredModel]:
    """Return a device that serves version 1, and the wish for version 2."""
    device = Device(folder)
    await device.converge(publish(device, 1, is_encrypted=kind.base))
    wanted = publish(device, 2, is_encrypted=kind.new)
    device.source.delivered.clear()
    device.steps.clear()
    return device, wanted


@pytest.fixture
async def devices(tmp_path: Path) -> AsyncIterator[Devices]:
    made: list[Device] = []

    async def make(kind: Kind) -> tuple[Device, DesiredModel]:
        device, wanted = await prepared(tmp_path / str(len(made)), kind)
        made.append(device)
        return device, wanted

    yield make
    for device in made:
        await device.server.aclose()


GOOD_PATCH = encode_delta(file_of(1), file_of(2), 1)


def chunks_read(device: Device, data: bytes) -> int:
    """Count the messages of an artifact's chunks that travelled."""
    sha256 = ref_of(data).sha256
    return sum(device.source.delivered[topics.artifact_chunk(sha256, index)] for index in range(20))


def told_bytes(device: Device) -> int:
    return max(event.fetched_bytes for event in device.steps)


def is_on_disk(folder: Path, secret: bytes) -> bool:
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    parts = {secret[start : start + 32] for start in range(0, len(secret) - 32, 16)}
    return any(part in content for content in contents for part in parts)


@of_each_kind
async def test_a_new_version_is_made_of_the_one_that_serves_and_only_the_delta_travels(
    devices: Devices, kind: Kind
) -> None:
    device, wanted = await devices(kind)
    delta = offer(device, kind, GOOD_PATCH)
    await device.converge(wanted)
    assert device.serves == 2
    file = travelling(2, is_encrypted=kind.new)
    assert device.blobs.read(ref_of(file).sha256, len(file)) == file
    assert chunks_read(device, file) == 0
    assert told_bytes(device) == delta.travels_as.size_bytes < len(file) / 3
    again = await device.restart()
    assert again.serves == 2
    await again.server.aclose()


async def test_the_version_before_serves_as_a_base_too(devices: Devices) -> None:
    device, wanted = await devices(PLAIN)
    await device.converge(publish(device, 3, is_encrypted=False))
    offer(device, PLAIN, GOOD_PATCH)
    await device.converge(wanted)
    assert (device.serves, chunks_read(device, file_of(2))) == (2, 0)


async def test_nothing_plain_of_an_encrypted_model_touches_the_disk(devices: Devices) -> None:
    device, wanted = await devices(ENCRYPTED)
    offer(device, ENCRYPTED, GOOD_PATCH)
    await device.converge(wanted)
    assert (device.serves, chunks_read(device, travelling(2, is_encrypted=True))) == (2, 0)
    for secret in (file_of(1), file_of(2), GOOD_PATCH[HEADER_BYTES:], *KEYS.values()):
        assert not is_on_disk(device.folder, secret + bytes(32))


@plain_and_encrypted
async def test_a_delta_that_was_cut_off_is_gone_on_with_and_collected_when_all_is_settled(
    devices: Devices, kind: Kind
) -> None:
    device, wanted = await devices(kind)
    sha256 = offer(device, kind, GOOD_PATCH).travels_as.sha256
    last = topics.artifact_chunk(sha256, 1)

    def lost(topic: str) -> float:
        if topic == last:
            raise LinkError("waiting: the link is down")
        return 0.0

    device.source.delay_s = lost
    with pytest.raises(LinkError):
        await device.converge(wanted)
    assert device.blobs.has_partial(sha256)

    device.source.delay_s = lambda _: 0.0
    again = await device.restart()
    await again.converge(wanted)
    assert (again.serves, chunks_read(again, travelling(2, is_encrypted=kind.new))) == (2, 0)
    assert device.source.delivered[topics.artifact_chunk(sha256, 0)] == 1
    assert again.blobs.collect(again.updater.file.slots.artifacts()) == [sha256]
    assert not again.blobs.has(sha256)
    await again.server.aclose()


def bomb(result_bytes: int) -> bytes:
    """Return a delta whose frame unpacks to 256 MiB, under a header that names a small result."""
    frame = compress(bytes(256 * 2**20), 19)
    header = bytearray(GOOD_PATCH[:HEADER_BYTES])
    header[8:16] = len(file_of(1)).to_bytes(8, "little")
    header[16:24] = result_bytes.to_bytes(8, "little")
    return bytes(header) + frame


def foreign_base() -> bytes:
    return encode_delta(file_of(3), file_of(2), 1)


def wrong_result() -> bytes:
    return encode_delta(file_of(1), file_of(3), 1)


def lying_result() -> bytes:
    """Return a delta that makes version 3 and names version 2."""
    patch = bytearray(wrong_result())
    patch[HEADER_BYTES - 32 : HEADER_BYTES] = bytes.fromhex(ref_of(file_of(2)).sha256)
    return bytes(patch)


PATCHES: dict[str, Callable[[], bytes]] = {
    "a bomb": lambda: bomb(len(file_of(2))),
    "a bomb that says so": lambda: bomb(2**30),
    "for another base": foreign_base,
    "of another result": wrong_result,
    "of another result than it says": lying_result,
    "cut off": lambda: GOOD_PATCH[:-1],
    "no delta": lambda: b"no delta at all" * 20,
}


@plain_and_encrypted
@pytest.mark.parametrize("make", PATCHES.values(), ids=PATCHES.keys())
async def test_a_bad_delta_costs_its_bytes_and_the_whole_file_is_fetched(
    devices: Devices, kind: Kind, make: Callable[[], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    device, wanted = await devices(kind)
    delta = offer(device, kind, make())
    await device.converge(wanted)
    file = travelling(2, is_encrypted=kind.new)
    assert (device.serves, chunks_read(device, file)) == (2, len(describe(file, CHUNK).chunks))
    assert told_bytes(device) == delta.travels_as.size_bytes + len(file)
    assert "the whole file then" in caplog.text


def _of_lying_size(device: Device, kind: Kind) -> None:
    offer(device, kind, GOOD_PATCH)
    name(device, kind, DeltaRef(sha256=ref_of(GOOD_PATCH).sha256, size_bytes=20))


def _larger_than_the_file(device: Device, kind: Kind) -> None:
    offer(device, kind, GOOD_PATCH + bytes(len(file_of(2))))


def _silent(device: Device, kind: Kind) -> None:
    sha256 = offer(device, kind, GOOD_PATCH).travels_as.sha256
    del device.source.messages[topics.artifact_chunk(sha256, 0)]


def _under_one_key_alone(device: Device, kind: Kind) -> None:
    for key in (delta_key(KEYS[1], None), delta_key(None, KEYS[2])):
        assert key is not None
        sealed = encrypt_file(GOOD_PATCH, key)
        device.source.publish(sealed)
        secret = EncryptedFile(sha256=ref_of(sealed).sha256, size_bytes=len(sealed))
        name(device, kind, DeltaRef(sha256=ref_of(GOOD_PATCH).sha256, size_bytes=len(GOOD_PATCH), encrypted=secret))


def _not_encrypted(device: Device, kind: Kind) -> None:
    device.source.publish(GOOD_PATCH)
    name(device, kind, DeltaRef(sha256=ref_of(GOOD_PATCH).sha256, size_bytes=len(GOOD_PATCH)))


def _a_file_that_serves(device: Device, kind: Kind) -> None:
    manifest = device.updater.file.slots.active.manifest  # type: ignore[union-attr]
    name(device, kind, DeltaRef(sha256=manifest.sha256, size_bytes=manifest.size_bytes))


def _a_file_that_serves_as_a_smaller_one(device: Device, kind: Kind) -> None:
    name(device, kind, DeltaRef(sha256=ref_of(file_of(1)).sha256, size_bytes=20))


OFFERS = [
    (_of_lying_size, PLAIN),
    (_larger_than_the_file, PLAIN),
    (_silent, PLAIN),
    (_silent, ENCRYPTED),
    (_under_one_key_alone, ENCRYPTED),
    (_not_encrypted, ENCRYPTED),
    (_a_file_that_serves, PLAIN),
    (_a_file_that_serves_as_a_smaller_one, PLAIN),
]


@pytest.mark.parametrize(
    ("attack", "kind"), OFFERS, ids=[f"{one.__name__.strip('_')}-{kind.new}" for one, kind in OFFERS]
)
async def test_an_offer_that_lies_leads_to_the_whole_file_and_touches_nothing_that_serves(
    devices: Devices, attack: Callable[[Device, Kind], None], kind: Kind
) -> None:
    device, wanted = await devices(kind)
    attack(device, kind)
    await device.converge(wanted)
    file = travelling(2, is_encrypted=kind.new)
    assert (device.serves, chunks_read(device, file)) == (2, len(describe(file, CHUNK).chunks))
    previous = device.updater.file.slots.previous
    assert previous is not None
    assert device.blobs.has(previous.manifest.sha256)
    assert device.blobs.has(previous.file_sha256)


@plain_and_encrypted
@pytest.mark.parametrize("damage", ["changed", "gone"])
async def test_a_base_that_the_disk_has_damaged_leads_to_the_whole_file(
    devices: Devices, kind: Kind, damage: str
) -> None:
    device, wanted = await devices(kind)
    offer(device, kind, GOOD_PATCH)
    path = device.blobs.path(ref_of(travelling(1, is_encrypted=kind.base)).sha256)
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-1] + b"?")
    await device.converge(wanted)
    assert device.serves == 2


async def test_a_delta_that_the_disk_does_not_give_back_leads_to_the_whole_file(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, wanted = await devices(PLAIN)
    delta, read = offer(device, PLAIN, GOOD_PATCH), device.blobs.read

    def failing(sha256: str, max_bytes: int) -> bytes:
        if sha256 == delta.sha256:
            raise DiskError("reading artifact: [Errno 5] Input/output error")
        return read(sha256, max_bytes)

    monkeypatch.setattr(device.blobs, "read", failing)
    await device.converge(wanted)
    assert device.serves == 2


@plain_and_encrypted
async def test_a_delta_beside_which_the_disk_has_no_room_for_the_file_makes_way_for_it(
    devices: Devices, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    device, wanted = await devices(kind)
    delta = offer(device, kind, GOOD_PATCH).travels_as

    def full(_ref: ArtifactRef, _parts: Iterable[bytes]) -> None:
        raise DiskError("storing artifact: [Errno 28] No space left on device")

    monkeypatch.setattr(device.blobs, "put", full)
    await device.converge(wanted)
    assert (device.serves, device.blobs.has(delta.sha256)) == (2, False)
    assert told_bytes(device) == delta.size_bytes + len(travelling(2, is_encrypted=kind.new))


@plain_and_encrypted
async def test_a_delta_that_an_earlier_try_left_behind_makes_way_on_a_full_disk_as_well(
    devices: Devices, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    device, wanted = await devices(kind)
    delta = offer(device, kind, GOOD_PATCH).travels_as
    device.blobs.mark_passing(delta.sha256)
    await device.updater.fetcher.fetch(delta)  # and then the power was cut

    def full(_ref: ArtifactRef, _parts: Iterable[bytes]) -> None:
        raise DiskError("storing artifact: [Errno 28] No space left on device")

    monkeypatch.setattr(device.blobs, "put", full)
    await device.converge(wanted)
    assert (device.serves, device.blobs.has(delta.sha256)) == (2, False)


async def test_a_file_that_something_needs_is_never_deleted_because_a_broker_calls_it_a_delta(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, wanted = await devices(PLAIN)
    delta = offer(device, PLAIN, GOOD_PATCH).travels_as
    device.blobs.mark_passing(delta.sha256)
    await device.updater.fetcher.fetch(delta)
    device.blobs.check(delta.sha256)  # as everything does that is going to use it as a file

    def full(_ref: ArtifactRef, _parts: Iterable[bytes]) -> None:
        raise DiskError("storing artifact: [Errno 28] No space left on device")

    monkeypatch.setattr(device.blobs, "put", full)
    with pytest.raises(DiskError):
        await device.converge(wanted)
    assert device.blobs.has(delta.sha256)


async def test_a_silent_transfer_manifest_is_told_to_the_hub_once_and_waited_for(devices: Devices) -> None:
    device, wanted = await devices(PLAIN)
    offer(device, PLAIN, GOOD_PATCH)
    sha256 = ref_of(file_of(2)).sha256
    held = device.source.messages.pop(topics.artifact_manifest(sha256))
    with pytest.raises(FetchError, match="silent"):
        await device.converge(wanted)
    assert device.asked == [sha256]
    device.source.messages[topics.artifact_manifest(sha256)] = held
    await device.converge(wanted)
    assert (device.serves, chunks_read(device, file_of(2))) == (2, 0)


async def test_a_transfer_that_was_begun_as_a_whole_goes_on_as_a_whole(devices: Devices) -> None:
    device, wanted = await devices(PLAIN)
    held = device.source.messages.pop(topics.artifact_chunk(ref_of(file_of(2)).sha256, 3))
    with pytest.raises(FetchError, match="silent"):
        await device.converge(wanted)
    delta = offer(device, PLAIN, GOOD_PATCH)
    device.source.messages[topics.artifact_chunk(ref_of(file_of(2)).sha256, 3)] = held
    await device.converge(wanted)
    assert (device.serves, chunks_read(device, GOOD_PATCH)) == (2, 0)
    assert not device.blobs.has(delta.travels_as.sha256)


@plain_and_encrypted
async def test_a_power_cut_at_any_step_of_a_deployment_by_delta_leaves_a_version_that_serves(
    tmp_path: Path, kind: Kind
) -> None:
    async def deployed(folder: Path) -> tuple[Device, DesiredModel]:
        device, wanted = await prepared(folder, kind)
        offer(device, kind, GOOD_PATCH)
        return device, wanted

    file = travelling(2, is_encrypted=kind.new)
    served: list[int] = []
    async for cut, device, wanted in cut_deployments(tmp_path, deployed):
        again = await device.restart()
        served.append(again.serves or 0)  # 0 stands for neither
        await again.converge(wanted)
        assert again.serves == 2, f"cut before step {cut}"
        assert chunks_read(again, file) == 0, f"cut before step {cut}"
        await again.server.aclose()
    assert served == sorted(served)  # version 1 up to some step, version 2 from there, never neither
    assert set(served) == {1, 2}
