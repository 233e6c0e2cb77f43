"""Artifacts as retained chunks: the transfer manifest, and the checks of a chunk and of the whole.

A transfer manifest is unsigned: it can only delay. What a device trusts is the hash of the whole artifact, which
a signed statement names. That holds for an artifact that was made of an older one and a delta, too.
"""

import hashlib
from collections.abc import Collection, Iterator

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.errors import TransferError
from shoal_contract.ids import Sha256, sha256_hex
from shoal_contract.limits import (
    CHUNK_SIZES_BYTES,
    DEFAULT_CHUNK_BYTES,
    LARGE_CHUNK_BYTES,
    MAX_ARTIFACT_BYTES,
    MAX_CHUNK_LIST_BYTES,
    MAX_DELTAS,
    MAX_HTTPS_ARTIFACT_BYTES,
)
from shoal_contract.sealable_file import SealableFile
from shoal_contract.wire import WireMessage, parse_message


class DeltaRef(SealableFile):
    """A patch that makes this artifact's plain file of another's.

    It is encrypted where one of the two files is; `shoal_contract.encryption.delta_key` opens it. It travels as chunks
    alone, as it is made and applied in memory.
    """

    size_bytes: int = Field(ge=1, le=MAX_ARTIFACT_BYTES)


class TransferManifest(WireMessage):
    """The payload of `artifact/<sha256>/manifest`: size and chunk hashes, and the deltas that lead to the artifact.

    A key of `deltas` is the hash of what travels of the base: its ciphertext's where the base is encrypted.
    """

    sha256: Sha256
    size_bytes: int = Field(ge=1, le=MAX_HTTPS_ARTIFACT_BYTES)
    chunk_bytes: int
    chunks: tuple[Sha256, ...]
    deltas: dict[Sha256, DeltaRef] = Field(default_factory=dict, max_length=MAX_DELTAS)

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.chunk_bytes not in CHUNK_SIZES_BYTES:
            msg = f"chunk_bytes is {self.chunk_bytes}, expected one of {CHUNK_SIZES_BYTES}"
            raise ValueError(msg)
        expected = -(-self.size_bytes // self.chunk_bytes)
        if len(self.chunks) != expected:
            msg = f"{len(self.chunks)} chunk hashes for {self.size_bytes} bytes, expected {expected}"
            raise ValueError(msg)
        return self

    def size_of(self, index: int) -> int:
        """Bytes of chunk `index`; only the last may be shorter than `chunk_bytes`."""
        return min(self.chunk_bytes, self.size_bytes - index * self.chunk_bytes)

    def check_size(self, index: int, data: bytes) -> None:
        """Check that one received chunk has the place and the size that this manifest names.

        Raises:
            TransferError: There is no such chunk, or it has another size.
        """
        if not 0 <= index < len(self.chunks):
            msg = f"checking chunk {index} of {self.sha256[:12]}: it has the chunks 0 to {len(self.chunks) - 1} only"
            raise TransferError(msg)
        if len(data) != self.size_of(index):
            msg = (
                f"checking chunk {index} of {self.sha256[:12]}: {len(data)} bytes found, "
                f"{self.size_of(index)} bytes expected"
            )
            raise TransferError(msg)

    def check_chunk(self, index: int, data: bytes) -> None:
        """Check one received chunk.

        Raises:
            TransferError: There is no such chunk, or its size or hash is not the one that this manifest names.
        """
        self.check_size(index, data)
        if (found := sha256_hex(data)) != self.chunks[index]:
            msg = (
                f"checking chunk {index} of {self.sha256[:12]}: hash {found[:12]} found, "
                f"{self.chunks[index][:12]} expected"
            )
            raise TransferError(msg)

    def smallest_delta(self, bases: Collection[str]) -> tuple[str, DeltaRef] | None:
        """Return the smallest delta from one of these files, and which; None where the artifact itself is no larger.

        A delta is never worth more bytes than what it stands in for, so a larger one is passed over as if it were not.
        """
        offered = [(base, delta) for base, delta in self.deltas.items() if base in bases]
        smaller = [one for one in offered if one[1].travels_as.size_bytes < self.size_bytes]
        return min(smaller, key=lambda one: (one[1].travels_as.size_bytes, one[0]), default=None)


def chunk_bytes_for(size_bytes: int) -> int:
    """Return the chunk size for an artifact: small over MQTT, where no message overtakes a chunk."""
    return LARGE_CHUNK_BYTES if size_bytes > MAX_ARTIFACT_BYTES else DEFAULT_CHUNK_BYTES


def describe(data: bytes, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> TransferManifest:
    """Make the transfer manifest of an artifact.

    Raises:
        TransferError: The artifact is empty or too large for chunks, or the chunk size is none of the contract's.
    """
    if not 1 <= len(data) <= MAX_ARTIFACT_BYTES or chunk_bytes not in CHUNK_SIZES_BYTES:
        msg = (
            f"describing an artifact: {len(data)} bytes in chunks of {chunk_bytes} found; expected 1 to "
            f"{MAX_ARTIFACT_BYTES} bytes in chunks of {' or '.join(map(str, CHUNK_SIZES_BYTES))}"
        )
        raise TransferError(msg)
    chunks = tuple(sha256_hex(chunk) for chunk in split(data, chunk_bytes))
    return TransferManifest(
        sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), chunk_bytes=chunk_bytes, chunks=chunks
    )


def split(data: bytes, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the chunks of an artifact in order."""
    for start in range(0, len(data), chunk_bytes):
        yield data[start : start + chunk_bytes]


def parse_transfer_manifest(payload: bytes, sha256: str, size_bytes: int) -> TransferManifest:
    """Read a transfer manifest from the network and hold it against what a signed statement promised.

    Raises:
        MessageError: The payload is malformed.
        TransferError: It speaks of another artifact or another size.
    """
    manifest = parse_message(TransferManifest, payload, MAX_CHUNK_LIST_BYTES)
    if manifest.sha256 != sha256 or manifest.size_bytes != size_bytes:
        msg = (
            f"reading the transfer manifest of {sha256[:12]}: it names {manifest.sha256[:12]} with "
            f"{manifest.size_bytes} bytes, expected {size_bytes} bytes of {sha256[:12]}"
        )
        raise TransferError(msg)
    return manifest
