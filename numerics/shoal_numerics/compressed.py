"""Zstandard with bounds: what comes from the network never makes more bytes than its reader expects.

Frames follow RFC 8878. Delta and update coding read block by block, packing reads a small frame at once.
"""

from collections.abc import Iterator

import zstandard

from shoal_numerics.errors import CompressedDataError

MAX_WINDOW_BYTES = 1 << 23
"""The most memory a streamed frame may ask its reader for; frames written here stay within it."""

DEFAULT_LEVEL = 12
_LARGEST_WINDOW_LOG = 27


def compress(data: bytes, level: int = DEFAULT_LEVEL) -> bytes:
    """Compress bytes to one frame that names its content size and needs at most MAX_WINDOW_BYTES to read."""
    window_log = MAX_WINDOW_BYTES.bit_length() - 1
    parameters = zstandard.ZstdCompressionParameters.from_level(level, source_size=len(data))
    if parameters.window_log > window_log:
        parameters = zstandard.ZstdCompressionParameters.from_level(level, source_size=len(data), window_log=window_log)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def compress_against(prefix: bytes, data: bytes, level: int = DEFAULT_LEVEL) -> bytes:
    """Compress bytes with another file as the dictionary, so that stretches that they share cost little."""
    span_bytes = len(prefix) + len(data)
    window_log = min(max(span_bytes.bit_length(), zstandard.WINDOWLOG_MIN), _LARGEST_WINDOW_LOG)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), dict_size=len(prefix), window_log=window_log, enable_ldm=True
    )
    compressor = zstandard.ZstdCompressor(dict_data=_dictionary(prefix), compression_params=parameters)
    return compressor.compress(data)


def decompress_exactly(data: bytes, size_bytes: int, prefix: bytes = b"") -> bytes:
    """Decompress one frame of known size at once.

    Args:
        data: exactly one frame that names its content size.
        size_bytes: the size that the content must have; nothing larger is ever allocated.
        prefix: the dictionary given to `compress_against`, empty for none.

    Raises:
        CompressedDataError: truncated, corrupt, of another size, or followed by more bytes.
    """
    try:
        found_bytes = zstandard.get_frame_parameters(data).content_size
        if found_bytes != size_bytes:
            message = f"Decompressing: the frame names {found_bytes} bytes, expected {size_bytes}."
            raise CompressedDataError(message)
        decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary(prefix))
        # The size goes along for an empty content too, where zstandard would otherwise want a size.
        content = decompressor.decompress(data, max_output_size=max(size_bytes, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        message = f"Decompressing {len(data)} bytes: not one whole zstd frame ({error}). Fetch it again."
        raise CompressedDataError(message) from error
    if len(content) != size_bytes:
        message = f"Decompressing: got {len(content)} bytes, expected {size_bytes}."
        raise CompressedDataError(message)
    return content


def decompress_blocks(data: bytes, size_bytes: int, block_bytes: int) -> Iterator[bytes]:
    """Decompress one frame of known size block by block, in memory bounded by block and window.

    Args:
        data: one frame.
        size_bytes: the size that the content must have.
        block_bytes: the size of each block but the last.

    Yields:
        Blocks of exactly `block_bytes`, the last one shorter.

    Raises:
        CompressedDataError: truncated, corrupt, of another size, or wanting a window above MAX_WINDOW_BYTES.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(data) as reader:
            for start in range(0, size_bytes, block_bytes):
                yield _read_exactly(reader, min(block_bytes, size_bytes - start))
            if reader.read(1):
                message = f"Decompressing: the frame holds more than the expected {size_bytes} bytes."
                raise CompressedDataError(message)
    except zstandard.ZstdError as error:
        message = f"Decompressing {len(data)} bytes: not a zstd frame that may be read here ({error})."
        raise CompressedDataError(message) from error


def _read_exactly(reader: zstandard.ZstdDecompressionReader, size_bytes: int) -> bytes:
    """Read `size_bytes` from a reader that may return less at a time."""
    parts: list[bytes] = []
    wanted = size_bytes
    while wanted:
        part = reader.read(wanted)
        if not part:
            message = f"Decompressing: the frame ends {wanted} bytes too early. It is truncated; fetch it again."
            raise CompressedDataError(message)
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def _dictionary(prefix: bytes) -> "zstandard.ZstdCompressionDict | None":
    """Wrap a file as a dictionary of raw content; zstd refuses an empty one."""
    if not prefix:
        return None
    return zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
