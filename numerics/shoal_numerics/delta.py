"""The delta codec: a small patch that makes the new file of the old one, with both hashes named.

Made once at the hub for a pair of files that the fleet really runs, applied on devices to untrusted bytes:
sizes are checked before memory is taken, hashes before the result leaves.

A patch is a header of 88 bytes (magic "SHD1", mode, element width, lines of the table as a 16-bit integer, sizes of
base and result as 64-bit integers, SHA-256 of base and result; little-endian) and one zstd frame. In mode aligned,
which alone has a table, the table comes before that frame: its compressed size as a 32-bit integer, and its own frame.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from shoal_numerics import compressed
from shoal_numerics.aligned_difference import (
    LINE_BYTES,
    MAX_STRETCHES,
    Stretch,
    aligned_blocks,
    apply_aligned,
    block_sizes,
    read_table,
    write_table,
)
from shoal_numerics.alignment import align
from shoal_numerics.errors import CompressedDataError, DeltaError
from shoal_numerics.integer_difference import (
    BLOCK_BYTES,
    WIDTHS,
    ElementWidth,
    apply_difference,
    difference_blocks,
    padded_size,
)

Mode = Literal["difference", "prefix", "aligned"]

_MAGIC = b"SHD1"
_HEADER = struct.Struct("<4sBBHQQ32s32s")
_TABLE_SIZE = struct.Struct("<I")
_MODES: Final[dict[Mode, int]] = {"difference": 1, "prefix": 2, "aligned": 3}
_LEVEL = 19
_TRIAL_LEVEL = 9
_Form: TypeAlias = ElementWidth | Sequence[Stretch] | None
"""A difference of elements of one width, or of aligned stretches; None for the base as the dictionary."""
_PREFIX_SHARE = 100
"""Part of the new file that mode prefix has to save."""


@dataclass(frozen=True)
class DeltaHeader:
    """What a patch says about itself.

    Attributes:
        mode: "difference" of integers, "prefix" (zstd with the base as dictionary), or "aligned" (a difference of
            integers, stretch by stretch of what has moved).
        element_width: bytes of an element in mode difference.
        base_bytes: size of the file that the patch applies to.
        result_bytes: size of the file that it makes.
        base_sha256: hexadecimal.
        result_sha256: hexadecimal.
        stretches: lines of the table in mode aligned, 0 in others.
    """

    mode: Mode
    element_width: ElementWidth
    base_bytes: int
    result_bytes: int
    base_sha256: str
    result_sha256: str
    stretches: int = 0


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
    if element_width not in WIDTHS:
        message = f"Making a delta: the element width is {element_width}, expected one of {WIDTHS}."
        raise DeltaError(message)
    return _encode(old, new, element_width if len(old) == len(new) else None, _LEVEL)


def best_delta(old: bytes, new: bytes) -> bytes | None:
    """Make the smallest patch that this codec knows, or None where the full file is no larger.

    All forms are tried at a fast compression level and the smallest is then made at the best one. Mode prefix takes
    the device more memory than the others, so it has to save a hundredth of the file to be taken.
    """
    forms: list[_Form] = [None]
    if len(old) == len(new):
        forms += WIDTHS
    stretches = align(old, new)
    if 0 < len(stretches) <= MAX_STRETCHES:
        forms.append(stretches)
    trials = [len(_encode(old, new, form, _TRIAL_LEVEL)) for form in forms]
    trials[0] += len(new) // _PREFIX_SHARE
    best = forms[trials.index(min(trials))]
    delta = _encode(old, new, best, _LEVEL)
    return delta if len(delta) < len(new) else None


def apply_delta(old: bytes, delta: bytes, max_output_bytes: int) -> bytes:
    """Make the new file of the old one and a patch.

    In the modes difference and aligned it takes the memory of the result and a few MiB, in mode prefix that of a
    copy of the base and of the result more.

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
        new = _result(old, memoryview(delta)[_HEADER.size :], header)
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
    magic, number, width, lines, base_bytes, result_bytes, base, result = _HEADER.unpack_from(delta)
    mode = next((mode for mode, its_number in _MODES.items() if its_number == number), None)
    is_whole = {
        "difference": width in WIDTHS and base_bytes == result_bytes and lines == 0,
        "prefix": width == 1 and lines == 0,
        "aligned": width == 1 and lines > 0,
        None: False,
    }[mode]
    if magic != _MAGIC or mode is None or not is_whole:
        message = (
            f"Reading a delta: found magic {magic!r}, mode {number}, width {width}, {lines} lines, sizes {base_bytes} "
            f"and {result_bytes}; not a delta of this format. Fetch the full file."
        )
        raise DeltaError(message)
    return DeltaHeader(
        mode=mode,
        element_width=width,
        base_bytes=base_bytes,
        result_bytes=result_bytes,
        base_sha256=base.hex(),
        result_sha256=result.hex(),
        stretches=lines,
    )


def _result(old: bytes, body: memoryview, header: DeltaHeader) -> bytes:
    match header.mode:
        case "prefix":
            return compressed.decompress_exactly(body, header.result_bytes, prefix=old)
        case "difference":
            size_bytes = padded_size(header.base_bytes, header.element_width)
            blocks = compressed.decompress_blocks(body, size_bytes, BLOCK_BYTES)
            return apply_difference(old, blocks, header.element_width)
        case "aligned":
            table, frame = _split_table(body, header.stretches)
            stretches = read_table(table, header.base_bytes, header.result_bytes)
            return apply_aligned(old, compressed.decompress_parts(frame, block_sizes(stretches)), stretches)


def _split_table(body: memoryview, lines: int) -> tuple[bytes, memoryview]:
    if len(body) < _TABLE_SIZE.size:
        message = f"Applying a delta: {len(body)} bytes after the header, expected a table. Fetch the full file."
        raise DeltaError(message)
    (size_bytes,) = _TABLE_SIZE.unpack_from(body)
    end = _TABLE_SIZE.size + size_bytes
    return compressed.decompress_exactly(body[_TABLE_SIZE.size : end], lines * LINE_BYTES), body[end:]


def _encode(old: bytes, new: bytes, form: _Form, level: int) -> bytes:
    """Make a patch of one form."""
    if form is None:
        return _header(old, new, "prefix") + compressed.compress_against(old, new, level)
    if isinstance(form, int):
        blocks = difference_blocks(old, new, form)
        return _header(old, new, "difference", width=form) + compressed.compress(b"".join(blocks), level)
    table = compressed.compress(write_table(form), level)
    frame = compressed.compress(b"".join(aligned_blocks(old, new, form)), level)
    return _header(old, new, "aligned", lines=len(form)) + _TABLE_SIZE.pack(len(table)) + table + frame


def _header(old: bytes, new: bytes, mode: Mode, *, width: ElementWidth = 1, lines: int = 0) -> bytes:
    hashes = (hashlib.sha256(old).digest(), hashlib.sha256(new).digest())
    return _HEADER.pack(_MAGIC, _MODES[mode], width, lines, len(old), len(new), *hashes)
