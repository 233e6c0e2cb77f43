"""Bounded zstd: the wire form of released versions, and frames that are cut, followed by more, or too wide."""

import base64

import pytest

from shoal_numerics.compressed import (
    compress,
    compress_against,
    decompress_blocks,
    decompress_exactly,
    named_size_bytes,
    zstd,
)
from shoal_numerics.errors import CompressedDataError

TEXT = b"shoal " * 20 + bytes(range(64))
BASE = bytes(range(256))
# Written by python-zstandard 0.25, the library of the first version.
OLD_FRAME = base64.b64decode(
    "KLUv/SC4dQIAZARzaG9hbCAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/AQAvaSkC"
)
OLD_FRAME_AGAINST_BASE = base64.b64decode("KLUv/SD6XQAAIAllbmQBAHM9ZYQ=")


def test_frames_of_the_first_version_are_read() -> None:
    assert decompress_exactly(OLD_FRAME, len(TEXT)) == TEXT
    assert b"".join(decompress_blocks(OLD_FRAME, len(TEXT), 50)) == TEXT
    assert decompress_exactly(OLD_FRAME_AGAINST_BASE, 250, prefix=BASE) == BASE[9:] + b"end"


@pytest.mark.parametrize("size_bytes", [0, 1, 7, 8, 32_767, 32_768, 32_769, 300_000])
def test_content_of_any_size_comes_back(size_bytes: int) -> None:
    data = (TEXT * (size_bytes // len(TEXT) + 1))[:size_bytes]
    frame = compress(data)
    assert named_size_bytes(frame) == size_bytes
    assert decompress_exactly(frame, size_bytes) == data
    assert b"".join(decompress_blocks(frame, size_bytes, 4096)) == data
    assert decompress_exactly(compress_against(data, data), size_bytes, prefix=data) == data


def test_a_dictionary_is_raw_content_even_where_it_looks_like_a_trained_one() -> None:
    prefix = b"\x37\xa4\x30\xec" + BASE
    assert decompress_exactly(compress_against(prefix, BASE), len(BASE), prefix=prefix) == BASE


@pytest.mark.parametrize("kept_bytes", range(len(OLD_FRAME)))
def test_a_frame_cut_anywhere_is_refused(kept_bytes: int) -> None:
    with pytest.raises(CompressedDataError):
        decompress_exactly(OLD_FRAME[:kept_bytes], len(TEXT))
    with pytest.raises(CompressedDataError):
        list(decompress_blocks(OLD_FRAME[:kept_bytes], len(TEXT), 50))


@pytest.mark.parametrize("more", [b"x", OLD_FRAME, bytes(200_000)])
def test_bytes_after_the_frame_are_refused(more: bytes) -> None:
    with pytest.raises(CompressedDataError, match="nothing after it"):
        decompress_exactly(OLD_FRAME + more, len(TEXT))
    with pytest.raises(CompressedDataError, match="nothing after it"):
        list(decompress_blocks(OLD_FRAME + more, len(TEXT), 50))


def test_a_frame_of_the_strongest_level_stays_within_the_window_that_readers_allow() -> None:
    data = bytes(20_000_000)
    assert sum(len(block) for block in decompress_blocks(compress(data, level=22), len(data), 1 << 20)) == len(data)
    wide = zstd.compress(data, level=22)
    with pytest.raises(CompressedDataError, match="may be read here"):
        list(decompress_blocks(wide, len(data), 1 << 20))
