"""Counts to compact bytes and back: LEB128 variable-length integers, compressed by zstd.

The bytes travel as base64 inside telemetry messages; they come from devices, so reading them is bounded and
anything malformed is refused. `Histogram.padded` and `Histogram.from_padded` give and take the counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import CompressedDataError, PackingError
from shoal_numerics.histogram import MAX_ROWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GROUP_BITS = 7
_MAX_INTEGER_BYTES = -(-MAX_ROWS.bit_length() // _GROUP_BITS)
_MORE = 0x80
_LEVEL = 12
_NUMBERS_AT_ONCE = 1 << 14


def pack_counts(counts: NDArray[np.int64], level: int = _LEVEL) -> bytes:
    """Pack whole numbers from 0 to 2**48.

    Args:
        counts: (n,) int64.
        level: of zstd; a lower one takes a fraction of the time and some tenths more bytes.

    Raises:
        PackingError: a number out of range.
    """
    from shoal_numerics import compressed  # zstd is not loaded before the first window ends

    if len(counts) and (counts.min() < 0 or counts.max() > MAX_ROWS):
        message = f"Packing counts: found {counts.min()} to {counts.max()}, expected 0 to {MAX_ROWS}."
        raise PackingError(message)
    blocks = (counts[start : start + _NUMBERS_AT_ONCE] for start in range(0, len(counts), _NUMBERS_AT_ONCE))
    return compressed.compress(b"".join(_split_octets(block) for block in blocks), level=level)


def unpack_counts(data: bytes, count: int) -> NDArray[np.int64]:
    """Read the bytes of `pack_counts`.

    Args:
        data: untrusted bytes.
        count: how many numbers there must be, taken from the baseline's edges and never from the message; no
            more than 7 bytes are decompressed for each.

    Returns:
        (count,) int64 in 0 … 2**48.

    Raises:
        PackingError: truncated, corrupt, too long, another number of integers, or an integer out of range.
    """
    from shoal_numerics import compressed

    try:
        size_bytes = compressed.named_size_bytes(data)
        if not count <= size_bytes <= count * _MAX_INTEGER_BYTES:
            message = (
                f"Unpacking counts: the packed form names {size_bytes} bytes, expected {count} to "
                f"{count * _MAX_INTEGER_BYTES} for {count} numbers."
            )
            raise PackingError(message)
        octets = np.frombuffer(compressed.decompress_exactly(data, size_bytes), dtype=np.uint8)
    except CompressedDataError as error:
        message = f"Unpacking counts: {error}"
        raise PackingError(message) from error
    return _join_octets(octets, count)


def _split_octets(counts: NDArray[np.int64]) -> bytes:
    """Split integers into LEB128 groups, little end first, high bit on all but the last."""
    if counts.max(initial=0) < _MORE:
        return counts.astype(np.uint8).tobytes()
    groups = counts[:, np.newaxis] >> (_GROUP_BITS * np.arange(_MAX_INTEGER_BYTES))
    is_used = groups > 0
    is_used[:, 0] = True
    octets = (groups & (_MORE - 1)).astype(np.uint8)
    octets[:, :-1] |= np.where(is_used[:, 1:], np.uint8(_MORE), np.uint8(0))
    return octets[is_used].tobytes()


def _join_octets(octets: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Join LEB128 groups into integers (the inverse of `_split_octets`)."""
    if len(octets) == count and octets.max(initial=0) < _MORE:  # as windows nearly always are
        return octets.astype(np.int64)
    ends = np.flatnonzero(octets < _MORE)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    if len(ends) != count or (count and ends[-1] != len(octets) - 1):
        message = f"Unpacking counts: found {len(ends)} whole integers, expected {count} and nothing after them."
        raise PackingError(message)
    if count == 0:
        return np.empty(0, dtype=np.int64)
    lengths = ends - starts + 1
    has_padding = (lengths > 1) & (octets[ends] == 0)
    if lengths.max() > _MAX_INTEGER_BYTES or has_padding.any():
        message = f"Unpacking counts: an integer is not in its shortest form of at most {_MAX_INTEGER_BYTES} bytes."
        raise PackingError(message)
    places = np.arange(len(octets)) - np.repeat(starts, lengths)
    groups = (octets & np.uint8(_MORE - 1)).astype(np.int64) << (_GROUP_BITS * places)
    counts: NDArray[np.int64] = np.add.reduceat(groups, starts)
    if counts.max() > MAX_ROWS:
        message = f"Unpacking counts: found {counts.max()}, expected at most {MAX_ROWS}."
        raise PackingError(message)
    return counts
