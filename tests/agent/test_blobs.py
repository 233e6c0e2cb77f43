"""Artifacts on disk: partial ones go on where they stopped, whole ones are what their name says or are not there."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.agent.simulators.director import ref_of

from shoal_agent.blobs import BlobStore, PartialBlob
from shoal_agent.errors import ArtifactError, DiskError, FetchError
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.errors import TransferError
from shoal_contract.ids import sha256_hex
from shoal_contract.transfer import describe, split

CHUNK = 16 * 1024
DATA = np.random.default_rng(1).bytes(76_800)  # five chunks, the last one shorter
MANIFEST = describe(DATA, CHUNK)
CHUNKS = list(split(DATA, CHUNK))
REF = ref_of(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def fill(partial: PartialBlob, indices: set[int]) -> None:
    for index in indices:
        partial.write(index, CHUNKS[index])


def store(blobs: BlobStore, data: bytes = DATA) -> None:
    manifest = describe(data, CHUNK)
    partial = blobs.open_partial(manifest)
    for index, chunk in enumerate(split(data, CHUNK)):
        partial.write(index, chunk)
    blobs.finish(partial, ref_of(data))


def test_a_filled_file_becomes_an_artifact(blobs: BlobStore) -> None:
    partial = blobs.open_partial(MANIFEST)
    assert partial.missing == {0, 1, 2, 3, 4}
    fill(partial, {4, 0, 2, 1, 3})
    assert partial.missing == set()

    assert blobs.finish(partial, REF).read_bytes() == DATA
    assert blobs.has(REF.sha256)
    assert blobs.read(REF.sha256, len(DATA)) == DATA


def test_a_transfer_goes_on_where_it_stopped(blobs: BlobStore) -> None:
    partial = blobs.open_partial(MANIFEST)
    fill(partial, {0, 3})
    partial.close()

    again = blobs.open_partial(MANIFEST)
    assert again.missing == {1, 2, 4}
    again.close()


def test_a_chunk_of_which_the_disk_takes_a_part_at_a_time_is_there_as_a_whole(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:1000], offset))
    store(blobs)
    assert blobs.read(REF.sha256, len(DATA)) == DATA


def test_chunks_that_a_power_cut_has_torn_are_fetched_again(blobs: BlobStore) -> None:
    partial = blobs.open_partial(MANIFEST)
    fill(partial, {0, 1, 2, 3, 4})
    partial.close()
    with partial.path.open("r+b") as file:
        file.seek(CHUNK + 7)
        file.write(b"\x00" * 9)  # inside chunk 1
        file.truncate(3 * CHUNK + 10)  # chunk 3 cut off, chunk 4 gone

    again = blobs.open_partial(MANIFEST)
    assert again.missing == {1, 3, 4}
    again.close()


@pytest.mark.parametrize(
    ("index", "data"),
    [(1, CHUNKS[1][:-1]), (1, CHUNKS[1] + b"x"), (4, CHUNKS[3]), (5, CHUNKS[0]), (-1, CHUNKS[0])],
    ids=["truncated", "oversize", "longer-last", "beyond-the-end", "before-the-start"],
)
def test_a_chunk_of_another_size_or_place_changes_nothing(blobs: BlobStore, index: int, data: bytes) -> None:
    partial = blobs.open_partial(MANIFEST)
    with pytest.raises(TransferError):
        partial.write(index, data)
    assert partial.missing == {0, 1, 2, 3, 4}
    assert partial.path.stat().st_size == len(DATA)
    partial.close()


def test_wrong_chunks_are_found_when_the_whole_does_not_come_out_right(blobs: BlobStore) -> None:
    partial = blobs.open_partial(MANIFEST)
    fill(partial, {4, 0, 2})
    partial.write(3, CHUNKS[0])
    partial.write(1, CHUNKS[2])

    partial.find_wrong()

    assert partial.missing == {1, 3}
    fill(partial, {3, 1})
    partial.find_wrong()
    assert partial.missing == set()
    assert blobs.finish(partial, REF).read_bytes() == DATA


def test_a_fresh_file_is_hashed_once_and_not_again_until_somebody_touches_it(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(blobs)
    monkeypatch.setattr("shoal_agent.blobs._hash_file", lambda _: "another pass")
    blobs.check(REF.sha256)
    path = blobs.path(REF.sha256)
    path.write_bytes(DATA)
    with pytest.raises(ArtifactError):
        blobs.check(REF.sha256)


def test_a_whole_file_with_another_hash_is_thrown_away_and_may_be_fetched_again(blobs: BlobStore) -> None:
    lying = MANIFEST.model_copy(update={"sha256": sha256_hex(b"what was signed")})
    partial = blobs.open_partial(lying)
    fill(partial, {0, 1, 2, 3, 4})

    with pytest.raises(FetchError, match="hash"):
        blobs.finish(partial, REF.model_copy(update={"sha256": lying.sha256}))

    assert not blobs.has(lying.sha256)
    assert not partial.path.exists()


def test_a_stored_artifact_that_the_disk_has_changed_is_noticed_and_thrown_away(blobs: BlobStore) -> None:
    store(blobs)
    blobs.check(REF.sha256)
    path = blobs.path(REF.sha256)
    path.write_bytes(DATA[:-1] + b"\x00")

    with pytest.raises(ArtifactError, match="changed on disk"):
        blobs.check(REF.sha256)
    assert not blobs.has(REF.sha256)
    with pytest.raises(ArtifactError, match="not there"):
        blobs.check(REF.sha256)


def test_an_artifact_larger_than_the_reader_takes_is_not_read(blobs: BlobStore) -> None:
    store(blobs)
    with pytest.raises(DiskError, match="at most 10 allowed"):
        blobs.read(REF.sha256, 10)
    with pytest.raises(DiskError, match="No such file"):
        blobs.read("0" * 64, 10)


def test_collecting_keeps_what_is_needed_whole_or_partial(blobs: BlobStore) -> None:
    store(blobs)
    store(blobs, b"not needed")
    needed = describe(b"half there", CHUNK)
    for manifest in (needed, describe(b"given up", CHUNK)):
        blobs.open_partial(manifest).close()

    gone = blobs.collect({REF.sha256, needed.sha256})

    assert gone == sorted([sha256_hex(b"not needed"), sha256_hex(b"given up")])
    assert blobs.has(REF.sha256)
    assert not blobs.has(sha256_hex(b"not needed"))
    assert {path.name for path in blobs.path("x").parent.iterdir()} == {REF.sha256, f"{needed.sha256}.part"}


def test_a_full_disk_is_said_so(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = blobs.open_partial(MANIFEST)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(DiskError, match="No space left") as refused:
        partial.write(0, CHUNKS[0])
    assert refused.value.remedy == "free some disk space"
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskError, match="No space left"):
        blobs.finish(partial, REF)
    partial.close()


def test_a_disk_that_turns_read_only_while_a_file_is_made_is_said_so(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    def read_only(_path: Path, **_options: bool) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.fsync", failing)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(DiskError, match="Input/output error"):
        blobs.put(ref_of(b"data"), [b"data"])


def test_two_models_that_make_the_same_file_at_once_do_not_write_into_each_others(
    blobs: BlobStore, tmp_path: Path
) -> None:
    ref = ref_of(b"onetwo")

    def first() -> Iterator[bytes]:
        yield b"one"
        blobs.put(ref, second())
        yield b"two"

    def second() -> Iterator[bytes]:
        yield b"one"
        assert not blobs.has(ref.sha256)
        yield b"two"

    blobs.put(ref, first())
    assert blobs.read(ref.sha256, 6) == b"onetwo"
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == [ref.sha256]


def test_what_was_made_here_is_kept_only_if_it_is_what_was_named(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="its hash is"):
        blobs.put(ArtifactRef(sha256="a" * 64, size_bytes=4), [b"fake"])
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_full_disk_while_a_file_is_made_leaves_no_part_of_it(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskError, match="No space left"):
        blobs.put(ref_of(b"data"), [b"data"])
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_file_that_was_half_made_at_a_power_cut_is_collected(blobs: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "blobs" / f"{'a' * 64}.new").write_bytes(b"half")
    assert blobs.collect(set()) == ["a" * 64]
    assert list((tmp_path / "blobs").iterdir()) == []
