"""Zstandard with bounds: what comes from the network never makes more bytes than its reader expects.

Frames follow RFC 8878. The library is the standard one of Python 3.14 (PEP 784), before that its backport.
"""

import io
import sys
from collections.abc import Iterable, Iterator
from typing import cast

from shoal_numerics.errors import CompressedDataError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["compress", "compress_against", "decompress_blocks", "decompress_exactly", "named_size_bytes", "zstd"]

MAX_WINDOW_BYTES = 1 << 23
"""The most memory a streamed frame may ask its reader for; frames written here stay within it."""

DEFAULT_LEVEL = 12
_WINDOW_LOG = MAX_WINDOW_BYTES.bit_length() - 1
_LAST_LEVEL_WITHIN_WINDOW = 19
_SMALLEST_WINDOW_LOG = 10
_LARGEST_WINDOW_LOG = 27
_SMALLEST_DICTIONARY_BYTES = 8
_SMALL_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
_ANY_OF_OURS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW_LOG}
_INPUT_BYTES = 1 << 17
# What the library fills in one go, without joining parts of its own.
_PIECE_BYTES = 1 << 15


def compress(data: bytes, level: int = DEFAULT_LEVEL) -> bytes:
    """Compress bytes to one frame that names its content size and needs at most MAX_WINDOW_BYTES to read."""
    options: dict[int, int] = {zstd.CompressionParameter.compression_level: level}
    if level > _LAST_LEVEL_WITHIN_WINDOW:
        options[zstd.CompressionParameter.window_log] = _WINDOW_LOG
    return zstd.compress(data, options=options)


def compress_against(prefix: bytes, data: bytes, level: int = DEFAULT_LEVEL) -> bytes:
    """Compress bytes with another file as the dictionary, so that stretches that they share cost little."""
    span_bits = (len(prefix) + len(data)).bit_length()
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.window_log: min(max(span_bits, _SMALLEST_WINDOW_LOG), _LARGEST_WINDOW_LOG),
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    return zstd.compress(data, options=options, zstd_dict=_dictionary(prefix))


def named_size_bytes(data: bytes | memoryview) -> int:
    """Return the content size that a frame names, which its writer may have made up.

    Raises:
        CompressedDataError: not a frame, or one that names no size.
    """
    try:
        # The backport's types leave out that a frame may name no size.
        size_bytes = cast("int | None", zstd.get_frame_info(data).decompressed_size)
    except zstd.ZstdError as error:
        message = f"Decompressing {len(data)} bytes: not one whole zstd frame ({error}). Fetch it again."
        raise CompressedDataError(message) from error
    if size_bytes is None:
        message = f"Decompressing {len(data)} bytes: the frame does not name its size, as it must."
        raise CompressedDataError(message)
    return size_bytes


def decompress_exactly(data: bytes | memoryview, size_bytes: int, prefix: bytes = b"") -> bytes:
    """Decompress one frame of known size at once.

    Args:
        data: exactly one frame that names its content size.
        size_bytes: the size that the content must have; nothing larger is ever allocated.
        prefix: the dictionary given to `compress_against`, empty for none.

    Raises:
        CompressedDataError: truncated, corrupt, of another size, or followed by more bytes.
    """
    found_bytes = named_size_bytes(data)
    if found_bytes != size_bytes:
        message = f"Decompressing: the frame names {found_bytes} bytes, expected {size_bytes}."
        raise CompressedDataError(message)
    if size_bytes <= _PIECE_BYTES and not prefix and (whole := _at_once(data, size_bytes)) is not None:
        return whole
    # The decompressor's own buffer is never larger than the size that the frame names, whatever window it wants.
    decompressor = zstd.ZstdDecompressor(zstd_dict=_dictionary(prefix), options=_ANY_OF_OURS)
    # A BytesIO hands its buffer out without copying it.
    content = io.BytesIO()
    for piece in _parts(decompressor, data, _sizes(size_bytes, _PIECE_BYTES)):
        content.write(piece)
    return content.getvalue()


def _at_once(data: bytes | memoryview, size_bytes: int) -> bytes | None:
    """Return a small frame's content; None where it is not just that, which is told by who reads it in parts."""
    decompressor = zstd.ZstdDecompressor(options=_ANY_OF_OURS)
    try:
        content = decompressor.decompress(data, max_length=size_bytes + 1)
    except zstd.ZstdError:
        return None
    is_whole = len(content) == size_bytes and decompressor.eof and not decompressor.unused_data
    return content if is_whole else None


def decompress_blocks(data: bytes | memoryview, size_bytes: int, block_bytes: int) -> Iterator[bytes]:
    """Decompress one frame of known size block by block, in memory bounded by block and window.

    Args:
        data: exactly one frame.
        size_bytes: the size that the content must have.
        block_bytes: the size of each block but the last.

    Yields:
        Blocks of exactly `block_bytes`, the last one shorter.

    Raises:
        CompressedDataError: truncated, corrupt, of another size, followed by more bytes, or wanting a window
            above MAX_WINDOW_BYTES.
    """
    return decompress_parts(data, _sizes(size_bytes, block_bytes))


def decompress_parts(data: bytes | memoryview, sizes_bytes: Iterable[int]) -> Iterator[bytes]:
    """Decompress one frame into parts of known sizes, in memory bounded by the largest of them and the window.

    Args:
        data: exactly one frame.
        sizes_bytes: the size of each part; together what the content must have.

    Yields:
        The parts.

    Raises:
        CompressedDataError: truncated, corrupt, of another size, followed by more bytes, or wanting a window
            above MAX_WINDOW_BYTES.
    """
    return _parts(zstd.ZstdDecompressor(options=_SMALL_WINDOW), data, sizes_bytes)


def _sizes(size_bytes: int, block_bytes: int) -> Iterator[int]:
    for start in range(0, size_bytes, block_bytes):
        yield min(block_bytes, size_bytes - start)


def _parts(
    decompressor: zstd.ZstdDecompressor, data: bytes | memoryview, sizes_bytes: Iterable[int]
) -> Iterator[bytes]:
    """Yield the content of one frame in parts, and check that frame, content and data end together."""
    view = memoryview(data)
    inputs = iter([view[start : start + _INPUT_BYTES] for start in range(0, len(data), _INPUT_BYTES)])
    done_bytes = 0
    try:
        for wanted in sizes_bytes:
            part = _read(decompressor, inputs, wanted)
            done_bytes += len(part)
            if len(part) < wanted:
                message = (
                    f"Decompressing: the frame ends after {done_bytes} bytes, {wanted - len(part)} too early for the "
                    "part that is read. It is truncated; fetch it again."
                )
                raise CompressedDataError(message)
            yield part
        if _read(decompressor, inputs, 1):
            message = f"Decompressing: the frame holds more than the expected {done_bytes} bytes."
            raise CompressedDataError(message)
    except zstd.ZstdError as error:
        message = f"Decompressing {len(data)} bytes: not a zstd frame that may be read here ({error})."
        raise CompressedDataError(message) from error
    if not decompressor.eof or decompressor.unused_data or next(inputs, None) is not None:
        message = f"Decompressing {len(data)} bytes: not one whole zstd frame and nothing after it. Fetch it again."
        raise CompressedDataError(message)


def _read(decompressor: zstd.ZstdDecompressor, inputs: Iterator[memoryview], size_bytes: int) -> bytes:
    """Read `size_bytes` of content, fewer only where the frame or the input ends."""
    parts: list[bytes] = []
    wanted = size_bytes
    while wanted and not decompressor.eof:
        given = next(inputs, None) if decompressor.needs_input else b""
        if given is None:
            break
        part = decompressor.decompress(given, max_length=wanted)
        parts.append(part)
        wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _dictionary(prefix: bytes) -> "tuple[zstd.ZstdDict, int] | None":
    """Wrap a file as a dictionary of raw content, which zstd takes no use of under 8 bytes."""
    return zstd.ZstdDict(prefix, is_raw=True).as_prefix if len(prefix) >= _SMALLEST_DICTIONARY_BYTES else None
