"""Samples at rest: encrypted for this device alone, within the owner's budgets, the oldest gone first."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from shoal_agent.capture import About, Budget, Captured, CaptureError, CaptureStore
from shoal_agent.capture.archive import from_npz, to_npz
from shoal_agent.capture.sealed import read_header, seal, unseal
from shoal_agent.encryption_key import (
    EncryptionKey,
    load_or_make_encryption_key,
    new_encryption_key,
)
from shoal_agent.engines import Array
from shoal_agent.errors import ArtifactError, DiskError
from shoal_agent.key_rotation import rotate_encryption_key

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)
DEVICE = "d-abcdefgh234567ab"
ROOM = Budget(max_bytes=10_000_000, day_bytes=10_000_000, day_samples=1000)
SECRET = b"the face at the door"


def captured(sample: bytes = SECRET, model: str = "digits") -> Captured:
    about = About(model=model, version=4, request_id="r-1", at=NOON, reasons=("random",), label=3, confidence=0.5)
    return Captured(about, sample)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> CaptureStore:
    return CaptureStore(tmp_path / "capture", clock)


@pytest.fixture(scope="module")
def key() -> EncryptionKey:
    return new_encryption_key(DEVICE)


def add(store: CaptureStore, key: EncryptionKey, budget: Budget = ROOM, sample: bytes = SECRET) -> str:
    name = store.add(captured(sample), key, budget)
    assert name is not None
    return name


def test_a_sample_comes_back_whole_and_nothing_of_it_can_be_read_on_the_disk(
    store: CaptureStore, key: EncryptionKey, tmp_path: Path
) -> None:
    name = add(store, key)
    assert store.open(name, key) == captured()
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "capture").iterdir())
    assert not any(one in on_disk for one in (SECRET, b"r-1", b"random", b"confidence"))
    assert (tmp_path / "capture").stat().st_mode & 0o077 == 0
    assert (tmp_path / "capture" / name).stat().st_mode & 0o077 == 0


def test_two_files_of_the_same_sample_have_nothing_in_common_that_gives_it_away(key: EncryptionKey) -> None:
    one, other = (seal(captured(), key) for _ in range(2))
    assert one.split(b"\n", 1)[1] != other.split(b"\n", 1)[1]
    hashes = [data.split(b'"sha256":"')[1][:64] for data in (one, other)]
    assert hashes[0] != hashes[1], "of a sample that could be guessed a hash would tell"


def test_another_device_s_key_opens_nothing(store: CaptureStore, key: EncryptionKey) -> None:
    name = add(store, key)
    with pytest.raises(CaptureError, match="kept under another encryption key"):
        store.open(name, new_encryption_key(DEVICE))


@pytest.mark.parametrize("change", [b'"model":"digitz"', b'"version":5', b'"device_id":"d-zbcdefgh234567ab"'])
def test_a_sample_can_not_be_passed_off_as_another_model_s_or_device_s(key: EncryptionKey, change: bytes) -> None:
    field = change.split(b":")[0]
    data = seal(captured(), key)
    header, _, rest = data.partition(b"\n")
    parts = [change if part.startswith(field) else part for part in header[1:-1].split(b",")]
    changed = b"{" + b",".join(parts) + b"}\n" + rest
    assert changed != data
    with pytest.raises(CaptureError, match="opening a captured sample"):
        unseal(changed, key)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[9:]]
)
def test_a_damaged_sample_is_refused(key: EncryptionKey, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(CaptureError):
        unseal(damage(seal(captured(), key)), key)


def test_a_sample_s_key_is_no_key_of_a_version(key: EncryptionKey) -> None:
    wrapped = read_header(seal(captured(), key))[0].keys[0]
    with pytest.raises(ArtifactError, match="made for another device or version"):
        key.open(wrapped, "digits", 4)


def test_the_oldest_go_for_what_is_new(store: CaptureStore, key: EncryptionKey) -> None:
    first = add(store, key)
    size = store.kept()[0].size_bytes
    budget = Budget(max_bytes=3 * size + 3, day_bytes=ROOM.day_bytes, day_samples=ROOM.day_samples)
    others = [add(store, key, budget) for _ in range(3)]
    assert [kept.name for kept in store.kept()] == others
    assert first not in others


def test_a_sample_larger_than_all_may_be_costs_the_others_nothing(store: CaptureStore, key: EncryptionKey) -> None:
    name = add(store, key)
    budget = Budget(max_bytes=store.kept()[0].size_bytes, day_bytes=ROOM.day_bytes, day_samples=ROOM.day_samples)
    assert store.add(captured(b"x" * 100_000), key, budget) is None
    assert [kept.name for kept in store.kept()] == [name]


def test_a_day_s_bytes_and_samples_are_bounded_also_across_deletion_and_restart(
    store: CaptureStore, key: EncryptionKey, clock: Clock, tmp_path: Path
) -> None:
    two = Budget(max_bytes=ROOM.max_bytes, day_bytes=ROOM.day_bytes, day_samples=2)
    for _ in range(2):
        store.delete(add(store, key, two))
    again = CaptureStore(tmp_path / "capture", clock)
    assert again.add(captured(), key, two) is None
    clock.now += timedelta(days=1)
    assert again.add(captured(), key, two) is not None
    size = again.kept()[0].size_bytes
    small = Budget(max_bytes=ROOM.max_bytes, day_bytes=size + size // 2, day_samples=1000)
    assert again.add(captured(), key, small) is None
    clock.now -= timedelta(days=2)
    assert again.add(captured(), key, small) is None, "a clock that falls back frees no budget"


def test_what_is_no_sample_in_the_folder_is_left_alone(store: CaptureStore, key: EncryptionKey, tmp_path: Path) -> None:
    add(store, key)
    (tmp_path / "capture" / "notes.txt").write_text("mine")
    (tmp_path / "capture" / "1234567890123-0000000a.sealed").symlink_to("gone")  # as one that goes meanwhile
    assert len(store.kept()) == 1
    for name in ("notes.txt", "../capture/notes.txt", "1234567890123-00000000.sealed"):
        with pytest.raises(CaptureError, match="there is none"):
            store.delete(name)
        with pytest.raises(CaptureError, match="there is none"):
            store.open(name, key)


def test_a_full_disk_is_an_error_that_says_so(
    store: CaptureStore, key: EncryptionKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shoal_agent.capture.store.replace_file", full)
    with pytest.raises(DiskError, match="No space left"):
        add(store, key)
    assert store.kept() == []


def test_samples_are_read_after_the_encryption_key_was_replaced(clock: Clock, tmp_path: Path) -> None:
    old = load_or_make_encryption_key(tmp_path / "identity", DEVICE)
    store = CaptureStore(tmp_path / "capture", clock)
    name = add(store, old)
    for _ in range(3):
        new = rotate_encryption_key(tmp_path, DEVICE, lambda _: None)
        assert store.open(name, new) == captured()
    with pytest.raises(CaptureError):
        store.open(name, old)


def test_a_replacement_that_was_cut_off_leaves_samples_that_the_old_key_opens(clock: Clock, tmp_path: Path) -> None:
    old, new = new_encryption_key(DEVICE), new_encryption_key(DEVICE)
    store = CaptureStore(tmp_path / "capture", clock)
    name = add(store, old)
    store.take_over(old, new)
    assert store.open(name, old) == store.open(name, new) == captured()
    store.take_over(old, new_encryption_key(DEVICE))
    assert store.open(name, old) == captured()


def test_arrays_go_through_npz_by_whatever_names_inputs_have() -> None:
    arrays: dict[str, Array] = {
        "serving_default_x:0": np.arange(6, dtype=np.int8).reshape(2, 3),
        "file": np.array(2.5, dtype=np.float32),
    }
    found = from_npz(to_npz(arrays), 1000)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_an_archive_that_inflates_too_far_or_holds_objects_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(10_000_000, dtype=np.uint8))
    with pytest.raises(CaptureError, match="at most 1000 expected"):
        from_npz((tmp_path / "bomb.npz").read_bytes(), 1000)
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    for data in ((tmp_path / "objects.npz").read_bytes(), b"PK no archive", b"", to_npz({"x": np.array(["text"])})):
        with pytest.raises(CaptureError, match="reading a sample as .npz"):
            from_npz(data, 10_000)


def test_an_archive_that_is_damaged_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", x=np.arange(300, dtype=np.int64) % 7)
    whole = (tmp_path / "whole.npz").read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        data = bytearray(whole)
        data[place] ^= 0xFF
        try:
            from_npz(bytes(data), 10_000)
        except CaptureError:
            refused += 1
    assert refused > len(whole) / 10
