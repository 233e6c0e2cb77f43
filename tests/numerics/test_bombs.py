"""Small frames that unpack to much: every reader of compressed bytes refuses them, and takes no memory for them."""

import struct
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from shoal_numerics.compressed import zstd
from shoal_numerics.delta import apply_delta, encode_delta
from shoal_numerics.errors import NumericsError
from shoal_numerics.packing import unpack_counts
from shoal_numerics.update_coding import Scheme, decode_update, encode_update

OLD, NEW = bytes(range(256)) * 64, bytes(range(255, -1, -1)) * 64
BASE = [np.zeros((32, 32), dtype=np.float32)]
UNPACKED_BYTES = 64 << 20
MOST_BYTES = 6 << 20
"""A few blocks of a reader; a tenth of what the bomb holds."""


def streamed(size_bytes: int) -> bytes:
    """Return a frame of zeros that does not name its size."""
    compressor = zstd.ZstdCompressor()
    parts = [compressor.compress(bytes(1 << 20)) for _ in range(size_bytes >> 20)]
    return b"".join([*parts, compressor.flush()])


def lying(named_bytes: int) -> bytes:
    """Return a frame that names a size of its own choice: one segment, 8 bytes of size, then blocks of one byte each.

    Source: RFC 8878, sections 3.1.1.1 (header) and 3.1.1.2 (a block of type RLE, 128 KiB of one byte).
    """
    header = struct.pack("<IBQ", 0xFD2FB528, 0b1110_0000, named_bytes)
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", (128 << 10) << 3 | 1 << 1 | 1)[:3] + b"\0"
    return header + block * (UNPACKED_BYTES // (128 << 10) - 1) + last


NAMED = zstd.compress(bytes(UNPACKED_BYTES))
SKIPPED = struct.pack("<II", 0x184D2A50, 4) + b"skip"
BOMBS = {
    "names its size": NAMED,
    "names no size": streamed(UNPACKED_BYTES),
    "names a small size": lying(1024),
    "names the expected size": lying(len(NEW)),
    "names 2^60 bytes": lying(2**60),
    "many frames": zstd.compress(bytes(1 << 20)) * 64,
    "behind a frame to skip": SKIPPED + NAMED,
    "a bomb inside a frame": zstd.compress(NAMED),
}


def delta_of(width: int) -> Callable[[bytes], object]:
    head = encode_delta(OLD, NEW if width else NEW + b"x", 4)[:88]
    return lambda frame: apply_delta(OLD, head + frame, len(NEW) + 1)


def aligned_table(table: bytes) -> object:
    """Apply a patch in mode aligned with this frame as its table of one line."""
    head = encode_delta(OLD, NEW, 1)[:88]
    return apply_delta(OLD, head[:4] + b"\x03\x01\x01\0" + head[8:] + struct.pack("<I", len(table)) + table, len(NEW))


def aligned_stretches(frame: bytes) -> object:
    """Apply a patch in mode aligned with this frame after a table of one line that is as it should be."""
    head = encode_delta(OLD, NEW, 1)[:88]
    table = zstd.compress(struct.pack("<IQB", len(NEW), 0, 1))
    whole = head[:4] + b"\x03\x01\x01\0" + head[8:] + struct.pack("<I", len(table)) + table + frame
    return apply_delta(OLD, whole, len(NEW))


def update_of(scheme: Scheme) -> Callable[[bytes], object]:
    whole = encode_update(BASE, BASE, scheme)
    head = whole[: whole.index(b"\x28\xb5\x2f\xfd")]
    return lambda frame: decode_update(head + frame, BASE, 1 << 20)


READERS: dict[str, Callable[[bytes], object]] = {
    "difference": delta_of(4),
    "prefix": delta_of(0),
    "aligned, table": aligned_table,
    "aligned, stretches": aligned_stretches,
    "float32 update": update_of("float32"),
    "int8 update": update_of("int8"),
    "counts": lambda frame: unpack_counts(frame, 100),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_within_bounded_memory(bomb: str, reader: str) -> None:
    assert len(BOMBS[bomb]) < 100_000
    tracemalloc.start()
    with pytest.raises(NumericsError):
        READERS[reader](BOMBS[bomb])
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < MOST_BYTES
