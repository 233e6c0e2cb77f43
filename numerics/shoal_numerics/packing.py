"""Counts to compact bytes and back: LEB128 variable-length integers, compressed by zstd.

The bytes travel as base64 inside telemetry messages; they come from devices, so reading them is bounded
by what the edges allow and anything malformed is refused.
"""

import numpy as np
import zstandard
from numpy.typing import NDArray

from shoal_numerics import compressed
from shoal_numerics.edges import HistogramEdges
from shoal_numerics.errors import CompressedDataError, HistogramError, PackingError
from shoal_numerics.histogram import MAX_ROWS, Histogram

_MAGIC = b"SHH1"
_EDGES_ID_BYTES = 8
_GROUP_BITS = 7
_MAX_INTEGER_BYTES = -(-MAX_ROWS.bit_length() // _GROUP_BITS)
_MORE = 0x80
_LEVEL = 19


def pack_histogram(histogram: Histogram) -> bytes:
    """Return the counts of a histogram as bytes, with the first 8 bytes of its edges' SHA-256 in front."""
    values = np.concatenate([histogram.counts, histogram.missing])
    return _MAGIC + _edges_id(histogram.edges) + pack_counts(values)


def unpack_histogram(data: bytes, edges: HistogramEdges) -> Histogram:
    """Read the bytes of `pack_histogram`; memory is bounded by the number of bins of `edges`.

    Raises:
        PackingError: malformed bytes, or counts of other edges, negative, excessive or not adding up.
    """
    prefix = _MAGIC + _edges_id(edges)
    if data[: len(_MAGIC)] != _MAGIC:
        message = f"Unpacking a histogram: starts with {data[:4]!r}, expected {_MAGIC!r}."
        raise PackingError(message)
    if data[: len(prefix)] != prefix:
        found = data[len(_MAGIC) : len(prefix)].hex()
        message = (
            f"Unpacking a histogram: it was counted over edges {found}, expected {edges.sha256[:16]}. "
            "It belongs to another baseline; set it aside."
        )
        raise PackingError(message)
    values = unpack_counts(data[len(prefix) :], edges.bin_total + edges.feature_count)
    try:
        return Histogram(edges, values[: edges.bin_total], values[edges.bin_total :])
    except HistogramError as error:
        message = f"Unpacking a histogram: {error}"
        raise PackingError(message) from error


def pack_counts(counts: NDArray[np.int64]) -> bytes:
    """Pack whole numbers from 0 to 2**48.

    Args:
        counts: (n,) int64.

    Raises:
        PackingError: a number out of range.
    """
    if len(counts) and (counts.min() < 0 or counts.max() > MAX_ROWS):
        message = f"Packing counts: found {counts.min()} to {counts.max()}, expected 0 to {MAX_ROWS}."
        raise PackingError(message)
    groups = counts[:, np.newaxis] >> (_GROUP_BITS * np.arange(_MAX_INTEGER_BYTES))
    is_used = groups > 0
    is_used[:, 0] = True
    octets = (groups & (_MORE - 1)).astype(np.uint8)
    octets[:, :-1] |= np.where(is_used[:, 1:], np.uint8(_MORE), np.uint8(0))
    return compressed.compress(octets[is_used].tobytes(), level=_LEVEL)


def unpack_counts(data: bytes, count: int) -> NDArray[np.int64]:
    """Read the bytes of `pack_counts`.

    Args:
        data: untrusted bytes.
        count: how many numbers there must be; no more than 7 bytes are decompressed for each.

    Returns:
        (count,) int64 in 0 … 2**48.

    Raises:
        PackingError: truncated, corrupt, too long, another number of integers, or an integer out of range.
    """
    try:
        size_bytes = zstandard.get_frame_parameters(data).content_size
        if not count <= size_bytes <= count * _MAX_INTEGER_BYTES:
            message = (
                f"Unpacking counts: the packed form names {size_bytes} bytes, expected {count} to "
                f"{count * _MAX_INTEGER_BYTES} for {count} numbers."
            )
            raise PackingError(message)
        octets = np.frombuffer(compressed.decompress_exactly(data, size_bytes), dtype=np.uint8)
    except (CompressedDataError, zstandard.ZstdError) as error:
        message = f"Unpacking counts: {error}"
        raise PackingError(message) from error
    return _join_octets(octets, count)


def _join_octets(octets: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Join LEB128 groups (little end first, high bit on all but the last) into integers."""
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


def _edges_id(edges: HistogramEdges) -> bytes:
    return bytes.fromhex(edges.sha256)[:_EDGES_ID_BYTES]
