"""The delta codec: a small patch that makes the new file of the old one, with both hashes named.

Made once at the hub for a pair of files that the fleet really runs, applied on devices to untrusted bytes:
sizes are checked before memory is taken, hashes before the result leaves.

A patch is a header of 88 bytes (magic "SHD1", mode, element width, two bytes of zero, sizes of base and
result as 64-bit integers, SHA-256 of base and result; little-endian) and one zstd frame.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

from shoal_numerics import compressed
from shoal_numerics.errors import CompressedDataError, DeltaError
from shoal_numerics.integer_difference import (
    BLOCK_BYTES,
    ElementWidth,
    apply_difference,
    difference_blocks,
    padded_size,
)

_MAGIC = b"SHD1"
_HEADER = struct.Struct("<4sBBHQQ32s32s")
_MODE_DIFFERENCE = 1
_MODE_PREFIX = 2
_WIDTHS: tuple[ElementWidth, ...] = (1, 2, 4)
_LEVEL = 19
_TRIAL_LEVEL = 9


@dataclass(frozen=True)
class DeltaHeader:
    """What a patch says about itself.

    Attributes:
        mode: "difference" of integers, or "prefix" (zstd with the base as dictionary).
        element_width: bytes of an element in mode difference.
        base_bytes: size of the file that the patch applies to.
        result_bytes: size of the file that it makes.
        base_sha256: hexadecimal.
        result_sha256: hexadecimal.
    """

    mode: Literal["difference", "prefix"]
    element_width: ElementWidth
    base_bytes: int
    result_bytes: int
    base_sha256: str
    result_sha256: str


def encode_delta(old: bytes, new: bytes, element_width: ElementWidth) -> bytes:
    """Make the patch from one file to another.

    Args:
        old: the base.
        new: the result.
        element_width: bytes of a weight in the files; used where both have the same length, otherwise the
            base serves as the dictionary of the compressor.

    Raises:
        DeltaError: an element width other than 1, 2 or 4.
    """
    if element_width not in _WIDTHS:
        message = f"Making a delta: the element width is {element_width}, expected one of {_WIDTHS}."
        raise DeltaError(message)
    return _encode(old, new, element_width if len(old) == len(new) else None, _LEVEL)


def best_delta(old: bytes, new: bytes) -> bytes | None:
    """Make the smallest patch that this codec knows, or None where the full file is no larger.

    All forms are tried at a fast compression level and the smallest is then made at the best one.
    """
    forms: list[ElementWidth | None] = [None, *_WIDTHS] if len(old) == len(new) else [None]
    best = min(forms, key=lambda form: len(_encode(old, new, form, _TRIAL_LEVEL)))
    delta = _encode(old, new, best, _LEVEL)
    return delta if len(delta) < len(new) else None


def apply_delta(old: bytes, delta: bytes, max_output_bytes: int) -> bytes:
    """Make the new file of the old one and a patch.

    In mode difference it takes the memory of the result and a few MiB, in mode prefix that of a copy of
    the base and of the result more.

    Args:
        old: the base, byte for byte the file that the patch was made for.
        delta: untrusted bytes.
        max_output_bytes: the largest result accepted (the size that the signed manifest names).

    Raises:
        DeltaError: malformed, for another base, larger than allowed, or not giving the named result. Fetch
            the full file instead.
    """
    header = read_delta_header(delta)
    if header.result_bytes > max_output_bytes:
        message = (
            f"Applying a delta: it makes {header.result_bytes} bytes, expected at most {max_output_bytes}. "
            "Fetch the full file."
        )
        raise DeltaError(message)
    if header.base_bytes != len(old) or header.base_sha256 != hashlib.sha256(old).hexdigest():
        message = (
            f"Applying a delta: the base here ({len(old)} bytes) is not the one that it was made for "
            f"({header.base_bytes} bytes, SHA-256 {header.base_sha256[:12]}…). Fetch the full file."
        )
        raise DeltaError(message)
    try:
        new = _result(old, delta[_HEADER.size :], header)
    except CompressedDataError as error:
        message = f"Applying a delta: {error}"
        raise DeltaError(message) from error
    if hashlib.sha256(new).hexdigest() != header.result_sha256:
        message = (
            f"Applying a delta: the result is not the named file (SHA-256 {header.result_sha256[:12]}…). "
            "The delta is corrupt; fetch the full file."
        )
        raise DeltaError(message)
    return new


def read_delta_header(delta: bytes) -> DeltaHeader:
    """Read and check the header of a patch, without touching the rest.

    Raises:
        DeltaError: too short, another format, or fields that contradict each other.
    """
    if len(delta) < _HEADER.size:
        message = f"Reading a delta: found {len(delta)} bytes, expected at least the header of {_HEADER.size}."
        raise DeltaError(message)
    magic, mode, width, reserved, base_bytes, result_bytes, base, result = _HEADER.unpack_from(delta)
    is_difference = mode == _MODE_DIFFERENCE and width in _WIDTHS and base_bytes == result_bytes
    is_prefix = mode == _MODE_PREFIX and width == 1
    if magic != _MAGIC or reserved != 0 or not (is_difference or is_prefix):
        message = (
            f"Reading a delta: found magic {magic!r}, mode {mode}, width {width}, sizes {base_bytes} and "
            f"{result_bytes}; not a delta of this format. Fetch the full file."
        )
        raise DeltaError(message)
    return DeltaHeader(
        mode="difference" if is_difference else "prefix",
        element_width=width,
        base_bytes=base_bytes,
        result_bytes=result_bytes,
        base_sha256=base.hex(),
        result_sha256=result.hex(),
    )


def _result(old: bytes, frame: bytes, header: DeltaHeader) -> bytes:
    if header.mode == "prefix":
        return compressed.decompress_exactly(frame, header.result_bytes, prefix=old)
    size_bytes = padded_size(header.base_bytes, header.element_width)
    blocks = compressed.decompress_blocks(frame, size_bytes, BLOCK_BYTES)
    return apply_difference(old, blocks, header.element_width)


def _encode(old: bytes, new: bytes, element_width: ElementWidth | None, level: int) -> bytes:
    """Make a patch in mode difference, or in mode prefix where there is no element width."""
    mode = _MODE_PREFIX if element_width is None else _MODE_DIFFERENCE
    hashes = (hashlib.sha256(old).digest(), hashlib.sha256(new).digest())
    header = _HEADER.pack(_MAGIC, mode, element_width or 1, 0, len(old), len(new), *hashes)
    if element_width is None:
        return header + compressed.compress_against(old, new, level)
    return header + compressed.compress(b"".join(difference_blocks(old, new, element_width)), level)
