"""Encrypted versions on a device: they serve from memory, and neither a disk nor another device gives them away."""

from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock

import pytest
from tests.agent.simulators.cut_deployments import cut_deployments
from tests.agent.simulators.device import Device, file_of, version
from tests.agent.simulators.director import DEVICE, ref_of
from tests.agent.simulators.power_cut import FragileDisk, PowerCutError
from tests.fixtures import tiny

from shoal_agent.encryption_key import EncryptionKey, OtherRecipientError, new_encryption_key
from shoal_agent.engines import load_engine, run_golden
from shoal_agent.errors import ArtifactError
from shoal_agent.key_rotation import rotate_encryption_key, take_up_encryption_key
from shoal_agent.plain_file import plain_file
from shoal_agent.slots import SlotFile
from shoal_agent.updater import DeploymentFailedError
from shoal_contract import topics
from shoal_contract.desired import DesiredModel
from shoal_contract.encryption import (
    EncryptedFile,
    KeyUse,
    WrappedKey,
    decrypt_chunks,
    encrypt_chunks,
    encrypt_file,
    wrap_key,
)
from shoal_contract.manifest import Variant

pytestmark = pytest.mark.anyio
VERSION_KEY, OTHER_VERSION_KEY = b"\x11" * 32, b"\x22" * 32


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    made = Device(tmp_path / "data")
    yield made
    await made.server.aclose()


def key_for(device: Device, number: int, key: bytes = VERSION_KEY, device_id: str = DEVICE) -> WrappedKey:
    """Wrap a version's key as the hub does."""
    return wrap_key(key, device.updater.encryption_key.private.public_key(), KeyUse(device_id, "tiny", number))


def publish(device: Device, number: int, *, sealed: bytes = b"", file: bytes = b"") -> DesiredModel:
    """Publish version `number` encrypted; return the section that asks for it, with the device's key."""
    plain = file or file_of(number)
    sealed = sealed or encrypt_file(plain, VERSION_KEY)
    ref, plain_ref = ref_of(sealed), ref_of(plain)

    def encrypted(variant: Variant) -> Variant:
        secret = EncryptedFile(sha256=ref.sha256, size_bytes=ref.size_bytes)
        return variant.model_copy(
            update={"encrypted": secret, "sha256": plain_ref.sha256, "size_bytes": plain_ref.size_bytes}
        )

    wanted = device.publish(version(number, encrypted), f"dp-{number}", file=sealed)
    return wanted.model_copy(update={"key": key_for(device, number)})


def all_bytes(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_on_disk(folder: Path, secret: bytes) -> bool:
    """Whether any 32 bytes of `secret` lie in any file, at a stride that finds every longer part."""
    parts = {secret[start : start + 32] for start in range(0, len(secret) - 32, 16)} or {secret}
    return any(part in content for content in all_bytes(folder).values() for part in parts)


async def test_an_encrypted_version_is_served_and_only_its_ciphertext_is_fetched(device: Device) -> None:
    await device.converge(publish(device, 1))
    assert device.serves == 1
    plain = ref_of(file_of(1)).sha256
    assert topics.artifact_manifest(plain) not in device.source.delivered
    slot = device.updater.file.slots.active
    assert slot is not None
    assert (slot.sha256, slot.encrypted is not None, slot.key is not None) == (plain, True, True)
    assert slot.file_sha256 in device.updater.file.slots.artifacts()


async def test_what_lies_on_the_disk_is_neither_the_model_nor_its_key(device: Device) -> None:
    await device.converge(publish(device, 1))
    await device.converge(publish(device, 2))
    assert device.serves == 2
    for number in (1, 2):
        assert not is_on_disk(device.folder, file_of(number))
    assert not is_on_disk(device.folder, VERSION_KEY)
    assert is_on_disk(device.folder, encrypt_file(file_of(2), VERSION_KEY)), "the search finds what is there"


async def test_a_stolen_disk_without_the_devices_key_serves_nothing(device: Device) -> None:
    await device.converge(publish(device, 1))
    (device.folder / "identity" / "encryption.pem").unlink()
    thief = Device(device.folder, device.source)
    with pytest.raises(OtherRecipientError):
        await thief.updater.boot()
    assert thief.serves is None


async def test_a_start_without_hub_and_broker_serves_the_encrypted_version(device: Device) -> None:
    await device.converge(publish(device, 1))
    device.source.messages.clear()
    again = await device.restart()
    assert again.serves == 1
    await again.server.aclose()


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
async def test_a_start_with_a_damaged_ciphertext_serves_the_previous_version_and_then_mends_it(
    device: Device, damage: str
) -> None:
    await device.converge(publish(device, 1))
    wanted = publish(device, 2)
    await device.converge(wanted)
    path = device.blobs.path(device.updater.file.slots.active.file_sha256)  # type: ignore[union-attr]
    content = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(content[:-1] + (b"" if damage == "cut" else b"?"))

    again = await device.restart()
    assert again.serves == 1
    await again.converge(wanted)
    assert again.serves == 2
    await again.server.aclose()


async def test_a_rollback_between_encrypted_and_plain_versions_fetches_nothing(device: Device) -> None:
    plain, secret = device.publish(version(1), "dp-1"), publish(device, 2)
    await device.converge(plain)
    await device.converge(secret)
    device.source.messages.clear()
    for number, wanted in ((1, plain), (2, secret)):
        await device.converge(wanted.model_copy(update={"deployment": f"dp-back-{number}"}))
        assert device.serves == number


async def refused(device: Device, wanted: DesiredModel, complaint: str) -> None:
    with pytest.raises(DeploymentFailedError, match=complaint) as failed:
        await device.converge(wanted)
    assert failed.value.to_problem().remedy
    assert device.serves == 1, "the last good version serves on"


async def test_keys_that_are_missing_or_made_for_something_else_fail_before_the_file_is_fetched(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-0"))
    wanted = publish(device, 2)
    other = key_for(device, 2, device_id="d-zzzzzzzzzzzzzzzz")
    attacks = {
        "no key": (None, "gave this device no key"),
        "another device's": (other, "made for another device or version"),
        "another version's": (key_for(device, 3), "made for another device or version"),
    }
    for index, (key, complaint) in enumerate(attacks.values()):
        await refused(device, wanted.model_copy(update={"key": key, "deployment": f"dp-a{index}"}), complaint)
    sealed = ref_of(encrypt_file(file_of(2), VERSION_KEY)).sha256
    assert topics.artifact_manifest(sealed) not in device.source.delivered


async def test_files_that_are_not_what_the_manifest_says_fail(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-0"))
    attacks = [
        encrypt_file(file_of(2), OTHER_VERSION_KEY),
        encrypt_file(file_of(3), VERSION_KEY),
        encrypt_file(file_of(2), VERSION_KEY)[:-1] + b"\0",
    ]
    for sealed in attacks:
        await refused(device, publish(device, 2, sealed=sealed), "decrypting .* does not open")


async def test_a_file_that_the_versions_key_was_misused_for_is_found_out_at_the_first_load(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-0"))
    plain, other = file_of(2), b"?" * len(file_of(2))
    sealed = next(encrypt_chunks([other], VERSION_KEY, ref_of(plain).sha256, len(plain)))
    await refused(device, publish(device, 2, sealed=sealed), "with the plain hash")


async def test_a_start_hashes_no_plain_file_that_it_has_hashed_before(device: Device) -> None:
    await device.converge(publish(device, 2))
    with mock.patch("shoal_agent.plain_file.decrypt_chunks", wraps=decrypt_chunks) as opened:
        again = await device.restart()
    assert again.serves == 2
    assert [call.kwargs["is_known"] for call in opened.mock_calls] == [True]
    await again.server.aclose()


async def test_a_model_that_fails_its_self_test_fails_encrypted_too(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-0"))
    await refused(device, publish(device, 2, file=b"no model at all"), "no ONNX file")


async def test_a_key_for_a_key_that_the_device_no_longer_has_waits_for_the_hub(device: Device) -> None:
    wanted = publish(device, 1)
    former = new_encryption_key(DEVICE).private.public_key()
    stale = wanted.model_copy(update={"key": wrap_key(VERSION_KEY, former, KeyUse(DEVICE, "tiny", 1))})
    with pytest.raises(OtherRecipientError, match="this device has"):
        await device.converge(stale)
    assert device.updater.file.slots.failure is None
    await device.converge(wanted)
    assert device.serves == 1


async def test_a_power_cut_at_any_step_of_an_encrypted_deployment_leaves_a_version_that_serves(tmp_path: Path) -> None:
    async def deployed(folder: Path) -> tuple[Device, DesiredModel]:
        device = Device(folder)
        await device.converge(publish(device, 1))
        return device, publish(device, 2)

    served: list[int | None] = []
    async for _, device, wanted in cut_deployments(tmp_path, deployed):
        assert not is_on_disk(device.folder, file_of(2))
        again = await device.restart()
        served.append(again.serves)
        await again.converge(wanted)
        assert again.serves == 2
        await again.server.aclose()
    assert set(served) == {1, 2}


@pytest.mark.parametrize("variant", [tiny.onnx_variant(), tiny.litert_variant()], ids=["onnx", "litert"])
def test_a_runtime_serves_from_memory_after_the_plain_file_is_gone(variant: Variant, tmp_path: Path) -> None:
    sealed = tmp_path / "sealed"
    sealed.write_bytes(encrypt_file(tiny.path_of(variant).read_bytes(), VERSION_KEY))
    with plain_file(sealed, variant, VERSION_KEY) as path:
        engine = load_engine(path, variant, tiny.INPUTS, tiny.OUTPUTS)
        with path.open("r+b", buffering=0) as file, pytest.raises(PermissionError):
            file.write(b"x")  # sealed: what was checked stays what it is
    manifest = tiny.tiny_manifest().model_copy(update={"variants": (variant,)})
    run_golden(engine, manifest, variant)
    engine.close()
    assert not path.exists()


# --- replacing the encryption key ------------------------------------------------------------------------------


async def _three_roles(folder: Path) -> Device:
    """Return a device with an encrypted version in each of the roles, and another model that is not encrypted."""
    device = Device(folder)
    await device.converge(publish(device, 1))
    await device.converge(publish(device, 2))
    file = device.updater.file
    candidate = file.slots.active.model_copy(  # type: ignore[union-attr]
        update={"version": 3, "deployment": "dp-3", "key": key_for(device, 3), "state": "unproven"}
    )
    file.put(file.slots.staged(candidate))
    plain = candidate.model_copy(update={"encrypted": None, "key": None})
    other = SlotFile(folder / "models", "other")
    other.put(other.slots.staged(plain))
    await device.server.aclose()
    return device


def opened(folder: Path, key: EncryptionKey) -> list[bytes]:
    """Open the stored keys of all roles with `key`."""
    held = SlotFile(folder / "models", "tiny").slots.held()
    return [key.open(slot.key, "tiny", slot.version) for slot in held]


async def test_all_stored_keys_go_over_to_the_new_one_and_the_old_one_is_gone(tmp_path: Path) -> None:
    device = await _three_roles(tmp_path)
    old = device.updater.encryption_key
    told: list[str] = []
    new = rotate_encryption_key(tmp_path, DEVICE, told.append)
    assert told == [new.public_hex]
    assert opened(tmp_path, new) == [VERSION_KEY] * 3
    with pytest.raises(OtherRecipientError):
        opened(tmp_path, old)
    old_secret = old.private.private_bytes_raw()
    assert not any(old_secret in content or old.to_pem() in content for content in all_bytes(tmp_path).values())
    assert sorted(path.name for path in (tmp_path / "identity").iterdir()) == ["encryption.pem"]
    assert (tmp_path / "identity" / "encryption.pem").stat().st_mode & 0o777 == 0o600
    again = await device.restart()
    assert again.serves == 2
    await again.server.aclose()


@pytest.mark.parametrize("loses_renames", [False, True])
async def test_a_power_cut_at_any_step_of_a_replacement_leaves_a_device_that_serves(
    tmp_path: Path, loses_renames: bool
) -> None:
    await _three_roles(tmp_path / "dry")
    with FragileDisk().mounted() as disk:
        rotate_encryption_key(tmp_path / "dry", DEVICE, lambda _: None)
    assert disk.steps > 12
    ends: list[bool] = []
    for cut in range(disk.steps):
        folder = tmp_path / str(cut)
        device = await _three_roles(folder)
        old = device.updater.encryption_key.public_hex
        told: list[str] = []
        fragile = FragileDisk(cut_before=cut)
        with fragile.mounted(), pytest.raises(PowerCutError):
            rotate_encryption_key(folder, DEVICE, told.append)
        fragile.lose_what_was_not_synced(renames=loses_renames)

        key = take_up_encryption_key(folder, DEVICE, told.append)
        assert opened(folder, key) == [VERSION_KEY] * 3, f"cut before step {cut}"
        assert not (folder / "identity" / "encryption.next").exists()
        ends.append(key.public_hex != old)
        assert (key.public_hex in told) == (key.public_hex != old), f"cut before step {cut}"
        again = await device.restart()
        assert again.serves == 2
        await again.server.aclose()
    assert ends == sorted(ends)  # the old key up to some step, the new one from there
    assert set(ends) == {False, True}


async def test_a_second_cut_while_a_replacement_is_carried_to_its_end_is_no_matter(tmp_path: Path) -> None:
    for second in range(6):
        folder = tmp_path / str(second)
        await _three_roles(folder)
        with FragileDisk(cut_before=6).mounted(), pytest.raises(PowerCutError):
            rotate_encryption_key(folder, DEVICE, lambda _: None)
        fragile = FragileDisk(cut_before=second)
        with fragile.mounted(), pytest.raises(PowerCutError):
            take_up_encryption_key(folder, DEVICE, lambda _: None)
        fragile.lose_what_was_not_synced(renames=True)
        assert opened(folder, take_up_encryption_key(folder, DEVICE, lambda _: None)) == [VERSION_KEY] * 3


async def test_what_changed_before_a_replacement_was_carried_to_its_end_stays(tmp_path: Path) -> None:
    """An agent that could not carry it to its end, on a full disk, serves all the same, and versions come and go."""
    await _three_roles(tmp_path)
    with FragileDisk(cut_before=6).mounted(), pytest.raises(PowerCutError):
        rotate_encryption_key(tmp_path, DEVICE, lambda _: None)
    assert (tmp_path / "identity" / "encryption.next").exists()
    file = SlotFile(tmp_path / "models", "tiny")
    file.put(file.slots.committed().activated())

    key = take_up_encryption_key(tmp_path, DEVICE, lambda _: None)

    slots = SlotFile(tmp_path / "models", "tiny").slots
    assert slots.active is not None
    assert slots.active.version == 3
    assert opened(tmp_path, key) == [VERSION_KEY] * 2


async def test_a_stored_key_that_does_not_open_stays_as_it_is(tmp_path: Path) -> None:
    device = await _three_roles(tmp_path)
    file = SlotFile(tmp_path / "models", "tiny")
    foreign = wrap_key(VERSION_KEY, new_encryption_key(DEVICE).private.public_key(), KeyUse(DEVICE, "tiny", 1))
    previous = file.slots.previous.model_copy(update={"key": foreign})  # type: ignore[union-attr]
    file.put(file.slots.model_copy(update={"previous": previous}))
    rotate_encryption_key(tmp_path, DEVICE, lambda _: None)
    assert SlotFile(tmp_path / "models", "tiny").slots.previous == previous
    assert (await device.restart()).serves == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "identity").mkdir()
    return tmp_path


def test_a_journal_that_is_damaged_is_put_aside_and_the_key_that_was_stays(folder: Path) -> None:
    key = take_up_encryption_key(folder, DEVICE, lambda _: None)
    (folder / "identity" / "encryption.next").write_bytes(b"{")
    assert take_up_encryption_key(folder, DEVICE, lambda _: None).public_hex == key.public_hex
    assert (folder / "identity" / "encryption.next.damaged").exists()


def test_a_key_that_is_made_because_none_was_there_is_told(folder: Path) -> None:
    told: list[str] = []
    key = take_up_encryption_key(folder, DEVICE, told.append)
    assert take_up_encryption_key(folder, DEVICE, told.append).public_hex == key.public_hex
    assert told == [key.public_hex]


def test_a_wrapped_key_without_the_version_it_is_for_says_what_to_do() -> None:
    with pytest.raises(ArtifactError, match="gave this device no key"):
        new_encryption_key(DEVICE).open(None, "tiny", 1)
