"""Differences of files in which things have moved: stretch by stretch against what each was made from, and back.

A table says of each stretch of the new file how long it is, where its counterpart begins in the old one and how wide
its elements are. A stretch without a counterpart is kept as it is.

A line of the table is 13 bytes, little-endian: size (32 bits), start in the old file (64 bits), width (8 bits; 0 with a
start of 0 for no counterpart).
"""

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from shoal_numerics.errors import DeltaError
from shoal_numerics.integer_difference import BLOCK_BYTES, WIDTHS, ElementWidth, difference_blocks, restore_block

MAX_STRETCHES: Final = 0xFFFF
"""Lines of a table at most."""
LINE_BYTES: Final = 13

_LINE: Final = struct.Struct("<IQB")
_NO_COUNTERPART: Final = 0
_MAX_LINE_SIZE_BYTES: Final = 0xFFFFFFFF


class Stretch(NamedTuple):
    """A part of the new file.

    Attributes:
        size_bytes: of the stretch; the next one begins where it ends.
        old_start: where its counterpart begins in the old file, None for no counterpart.
        element_width: bytes of an element; the size is a multiple of it.
    """

    size_bytes: int
    old_start: int | None
    element_width: ElementWidth


def write_table(stretches: Sequence[Stretch]) -> bytes:
    """Return the table, `LINE_BYTES` a stretch.

    Raises:
        DeltaError: no stretches, more than `MAX_STRETCHES`, or one of 4 GiB or more.
    """
    if not 0 < len(stretches) <= MAX_STRETCHES or any(one.size_bytes > _MAX_LINE_SIZE_BYTES for one in stretches):
        message = f"Making a delta: {len(stretches)} stretches, expected 1 to {MAX_STRETCHES} of less than 4 GiB."
        raise DeltaError(message)
    return b"".join(
        _LINE.pack(one.size_bytes, 0, _NO_COUNTERPART)
        if one.old_start is None
        else _LINE.pack(one.size_bytes, one.old_start, one.element_width)
        for one in stretches
    )


def read_table(table: bytes, base_bytes: int, result_bytes: int) -> list[Stretch]:
    """Read and check a table.

    Args:
        table: untrusted bytes, whole lines.
        base_bytes: size of the old file, within which every counterpart must lie.
        result_bytes: size of the new file, which the stretches must fill.

    Raises:
        DeltaError: a line of another form, one that leaves the old file, or lines that do not fill the new one.
    """
    stretches = [_read_line(line, base_bytes) for line in _LINE.iter_unpack(table)]
    filled = sum(one.size_bytes for one in stretches)
    if filled != result_bytes:
        message = f"Applying a delta: its table covers {filled} bytes, expected {result_bytes}. Fetch the full file."
        raise DeltaError(message)
    return stretches


def aligned_blocks(old: bytes, new: bytes, stretches: Iterable[Stretch]) -> Iterator[bytes]:
    """Yield the differences, stretch after stretch in blocks of at most BLOCK_BYTES; together as long as `new`."""
    old_view, new_view, done = memoryview(old), memoryview(new), 0
    for stretch in stretches:
        part = new_view[done : done + stretch.size_bytes]
        done += stretch.size_bytes
        if stretch.old_start is None:
            yield bytes(part)
        else:
            yield from difference_blocks(_counterpart(old_view, stretch), part, stretch.element_width)


def block_sizes(stretches: Iterable[Stretch]) -> Iterator[int]:
    """Yield the sizes in bytes in which `apply_aligned` takes the differences."""
    for stretch in stretches:
        for start in range(0, stretch.size_bytes, BLOCK_BYTES):
            yield min(BLOCK_BYTES, stretch.size_bytes - start)


def apply_aligned(old: bytes, blocks: Iterator[bytes], stretches: Iterable[Stretch]) -> bytes:
    """Return the new file from the old one, a table that was checked, and blocks of `block_sizes`."""
    view = memoryview(old)
    # A BytesIO hands its buffer out without copying it.
    new = io.BytesIO()
    for stretch in stretches:
        base = None if stretch.old_start is None else _counterpart(view, stretch)
        done = 0
        while done < stretch.size_bytes:
            block = next(blocks)
            source = None if base is None else base[done : done + len(block)]
            new.write(block if source is None else restore_block(source, block, stretch.element_width))
            done += len(block)
    next(blocks, None)  # nothing is left, and their reader checks that so it is
    return new.getvalue()


def _read_line(line: tuple[int, int, int], base_bytes: int) -> Stretch:
    size_bytes, old_start, width = line
    is_alone = width == _NO_COUNTERPART and old_start == 0
    is_within = width in WIDTHS and size_bytes % width == 0 and old_start + size_bytes <= base_bytes
    if size_bytes == 0 or not (is_alone or is_within):
        message = (
            f"Applying a delta: found a stretch of {size_bytes} bytes from {old_start} in elements of {width}, "
            f"expected whole elements within the {base_bytes} bytes of the base. Fetch the full file."
        )
        raise DeltaError(message)
    return Stretch(size_bytes, None if is_alone else old_start, 1 if is_alone else width)  # type: ignore[arg-type]


def _counterpart(old: memoryview, stretch: Stretch) -> memoryview:
    start = stretch.old_start or 0
    return old[start : start + stretch.size_bytes]
