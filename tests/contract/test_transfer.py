"""Artifacts in chunks, and the deltas that lead to them: what arrives cut or misplaced is refused chunk by chunk."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract import transfer
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.encryption import TAG_BYTES, EncryptedFile, encrypted_size
from shoal_contract.errors import MessageError, TransferError
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import (
    CHUNK_SIZES_BYTES,
    DEFAULT_CHUNK_BYTES,
    MAX_ARTIFACT_BYTES,
    MAX_CHUNK_LIST_BYTES,
    MAX_DELTAS,
    MAX_PACKET_BYTES,
)
from shoal_contract.transfer import DeltaRef, TransferManifest, describe, parse_transfer_manifest, split

SMALL = CHUNK_SIZES_BYTES[0]
DATA = bytes(range(251)) * 200  # 50,200 bytes: four chunks of 16 KiB, the last one shorter, no two alike
MANIFEST = describe(DATA, SMALL)
CHUNKS = list(split(DATA, SMALL))


@given(st.integers(1, 5 * SMALL), st.sampled_from(CHUNK_SIZES_BYTES))
def test_chunks_put_together_are_the_artifact(size: int, chunk_bytes: int) -> None:
    data = (DATA * 2)[:size]
    manifest = describe(data, chunk_bytes)
    chunks = list(split(data, chunk_bytes))
    for index, chunk in enumerate(chunks):
        assert len(chunk) == manifest.size_of(index)
        manifest.check_chunk(index, chunk)
    assert b"".join(chunks) == data
    assert (manifest.sha256, manifest.size_bytes, len(manifest.chunks)) == (sha256_hex(data), size, len(chunks))
    assert parse_transfer_manifest(manifest.to_bytes(), sha256_hex(data), size) == manifest


@given(st.integers(0, len(DATA) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_refused(position: int, bit: int) -> None:
    index, offset = divmod(position, SMALL)
    chunk = bytearray(CHUNKS[index])
    chunk[offset] ^= 1 << bit
    with pytest.raises(TransferError, match=f"checking chunk {index} of {MANIFEST.sha256[:12]}: .* expected"):
        MANIFEST.check_chunk(index, bytes(chunk))


@given(st.integers(0, len(CHUNKS) - 1), st.integers(0, SMALL - 1))
def test_a_truncated_chunk_is_refused(index: int, length: int) -> None:
    truncated = CHUNKS[index][: min(length, len(CHUNKS[index]) - 1)]
    with pytest.raises(TransferError, match=f"{len(truncated)} bytes"):
        MANIFEST.check_size(index, truncated)


def test_a_chunk_with_something_behind_it_is_refused() -> None:
    for index, chunk in enumerate(CHUNKS):
        with pytest.raises(TransferError):
            MANIFEST.check_size(index, chunk + b"\0")


def test_a_chunk_in_the_place_of_another_is_refused() -> None:
    with pytest.raises(TransferError):
        MANIFEST.check_chunk(0, CHUNKS[1])


@pytest.mark.parametrize("index", [-1, -4, 4, 10**6])
def test_a_chunk_that_does_not_exist_is_refused(index: int) -> None:
    whole = describe(DATA[: 4 * SMALL - (4 * SMALL) % SMALL], SMALL)
    with pytest.raises(TransferError, match=f"checking chunk {index} of .* has the chunks 0 to 3 only"):
        whole.check_size(index, CHUNKS[-1])


@pytest.mark.parametrize(
    ("data", "chunk_bytes"), [(b"", DEFAULT_CHUNK_BYTES), (b"x", 0), (b"x", -1), (b"x", 1000), (b"x", 2**20)]
)
def test_what_cannot_travel_in_chunks_is_not_described(data: bytes, chunk_bytes: int) -> None:
    with pytest.raises(TransferError, match=r"describing an artifact: .* found; expected"):
        describe(data, chunk_bytes)


def test_an_artifact_over_the_limit_is_not_described() -> None:
    with pytest.raises(TransferError, match="67108865 bytes"):
        describe(bytes(MAX_ARTIFACT_BYTES + 1))


def test_the_largest_artifact_fits_the_bounds_of_packet_and_chunk_list() -> None:
    largest = describe(bytes(MAX_ARTIFACT_BYTES), SMALL)
    assert len(largest.chunks) == 4096
    assert len(largest.to_bytes()) < MAX_CHUNK_LIST_BYTES < MAX_PACKET_BYTES
    assert max(CHUNK_SIZES_BYTES) < MAX_PACKET_BYTES


@pytest.mark.parametrize(
    "changes",
    [
        {"chunks": list(MANIFEST.chunks[:-1])},
        {"chunks": [*MANIFEST.chunks, MANIFEST.chunks[0]]},
        {"chunks": []},
        {"chunks": ["not a hash", *MANIFEST.chunks[1:]]},
        {"chunks": [MANIFEST.chunks[0].upper(), *MANIFEST.chunks[1:]]},
        {"chunks": [MANIFEST.chunks[0] + "\n", *MANIFEST.chunks[1:]]},
        {"chunk_bytes": 0},
        {"chunk_bytes": 1000},
        {"chunk_bytes": -SMALL},
        {"size_bytes": 0},
        {"size_bytes": MAX_ARTIFACT_BYTES + 1},
        {"size_bytes": len(DATA) + SMALL},
        {"deltas": {"base": "patch"}},
        {"sha256": "0"},
    ],
)
def test_a_transfer_manifest_that_does_not_add_up_is_refused(changes: dict[str, object]) -> None:
    payload = json.dumps({**MANIFEST.model_dump(mode="json"), **changes}).encode()
    with pytest.raises(MessageError, match="reading TransferManifest"):
        parse_transfer_manifest(payload, MANIFEST.sha256, MANIFEST.size_bytes)


def test_a_transfer_manifest_of_another_artifact_is_refused() -> None:
    with pytest.raises(TransferError, match=f"it names {MANIFEST.sha256[:12]} with 50200 bytes, expected 50200"):
        parse_transfer_manifest(MANIFEST.to_bytes(), "0" * 64, len(DATA))


def test_a_transfer_manifest_of_another_size_than_was_signed_is_refused() -> None:
    with pytest.raises(TransferError, match="expected 50199 bytes"):
        parse_transfer_manifest(MANIFEST.to_bytes(), MANIFEST.sha256, len(DATA) - 1)


def test_the_default_chunk_size_is_one_that_manifests_may_name() -> None:
    assert DEFAULT_CHUNK_BYTES in CHUNK_SIZES_BYTES
    assert transfer.describe(b"x").chunk_bytes == DEFAULT_CHUNK_BYTES


BASES = [sha256_hex(bytes([number])) for number in range(4)]


def delta(size_bytes: int, *, is_encrypted: bool = False) -> DeltaRef:
    secret = EncryptedFile(sha256="b" * 64, size_bytes=encrypted_size(size_bytes)) if is_encrypted else None
    return DeltaRef(sha256="a" * 64, size_bytes=size_bytes, encrypted=secret)


def test_the_smallest_delta_from_a_file_that_is_there_is_taken() -> None:
    deltas = {BASES[0]: delta(100), BASES[1]: delta(300), BASES[2]: delta(200)}
    manifest = MANIFEST.model_copy(update={"deltas": deltas})
    assert manifest.smallest_delta([BASES[1], BASES[2], BASES[3]]) == (BASES[2], deltas[BASES[2]])
    assert manifest.smallest_delta([BASES[3]]) is None
    assert MANIFEST.smallest_delta(BASES) is None


@pytest.mark.parametrize("size_bytes", [len(DATA), len(DATA) + 1, MAX_ARTIFACT_BYTES])
def test_a_delta_that_is_no_smaller_than_the_file_is_passed_over(size_bytes: int) -> None:
    manifest = MANIFEST.model_copy(update={"deltas": {BASES[0]: delta(size_bytes)}})
    assert manifest.smallest_delta(BASES) is None


def test_of_an_encrypted_delta_the_ciphertext_travels_and_counts() -> None:
    assert delta(900, is_encrypted=True).travels_as == ArtifactRef(sha256="b" * 64, size_bytes=encrypted_size(900))
    as_large_when_sealed = delta(len(DATA) - TAG_BYTES, is_encrypted=True)
    manifest = MANIFEST.model_copy(update={"deltas": {BASES[0]: as_large_when_sealed}})
    assert manifest.smallest_delta(BASES) is None


def test_a_transfer_manifest_with_deltas_beyond_the_bounds_is_refused() -> None:
    def payload(deltas: dict[str, object]) -> bytes:
        return json.dumps(json.loads(MANIFEST.to_bytes()) | {"deltas": deltas}).encode()

    def parse(deltas: dict[str, object]) -> TransferManifest:
        return parse_transfer_manifest(payload(deltas), MANIFEST.sha256, MANIFEST.size_bytes)

    one = {"sha256": "a" * 64, "size_bytes": 10}
    most: dict[str, object] = {sha256_hex(str(number).encode()): one for number in range(MAX_DELTAS)}
    assert len(parse(most).deltas) == MAX_DELTAS
    wrong: list[dict[str, object]] = [
        most | {"f" * 64: one},
        {"../../etc/passwd": one},
        {BASES[0]: one | {"sha256": "../../etc/passwd"}},
        {BASES[0]: one | {"size_bytes": 0}},
        {BASES[0]: one | {"size_bytes": MAX_ARTIFACT_BYTES + 1}},
        {BASES[0]: one | {"encrypted": {"sha256": "b" * 64, "size_bytes": 10}}},
    ]
    for deltas in wrong:
        with pytest.raises(MessageError):
            parse(deltas)
