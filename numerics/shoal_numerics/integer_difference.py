"""Two buffers of numbers to one compressible stream of their differences, and back, block by block.

Elements are taken as unsigned little-endian integers whatever they mean: new - old wraps around, zigzag makes
small differences of either sign small, and the byte shuffle puts bytes of equal weight side by side.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from shoal_numerics.errors import DeltaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ElementWidth = Literal[1, 2, 4]
WIDTHS: Final[tuple[ElementWidth, ...]] = (1, 2, 4)

BLOCK_BYTES = 1 << 20
"""Bytes that are shuffled together: part of the format, and the memory that a reader needs beside old and new."""


def difference_blocks(old: bytes | memoryview, new: bytes | memoryview, element_width: ElementWidth) -> Iterator[bytes]:
    """Yield the differences of two buffers of the same length.

    Args:
        old: the base.
        new: the result, as long as the base.
        element_width: bytes of an element; a rest shorter than an element is filled with zeros.

    Yields:
        Blocks of BLOCK_BYTES, the last one shorter; together `padded_size` bytes.
    """
    bits = 8 * element_width
    for start in range(0, len(old), BLOCK_BYTES):
        old_block = _elements(old[start : start + BLOCK_BYTES], element_width)
        new_block = _elements(new[start : start + BLOCK_BYTES], element_width)
        change = (new_block - old_block).view(f"<i{element_width}")
        zigzag = ((change << 1) ^ (change >> (bits - 1))).astype(f"<i{element_width}")
        yield zigzag.view(np.uint8).reshape(-1, element_width).T.tobytes()


def apply_difference(old: bytes, blocks: Iterable[bytes], element_width: ElementWidth) -> bytes:
    """Return the new buffer from the base and the blocks of `difference_blocks`.

    Raises:
        DeltaError: blocks that do not fit the base.
    """
    # A BytesIO hands its buffer out without copying it.
    new = io.BytesIO()
    filled = 0
    for block in blocks:
        old_block = _elements(old[filled : filled + BLOCK_BYTES], element_width)
        if len(block) != old_block.nbytes:
            message = f"Applying a difference: a block has {len(block)} bytes, expected {old_block.nbytes}."
            raise DeltaError(message)
        filled += new.write(_restored(old_block, block, element_width)[: len(old) - filled])
    if filled != len(old):
        message = f"Applying a difference: it covers {filled} bytes, expected {len(old)}."
        raise DeltaError(message)
    return new.getvalue()


def restore_block(old: bytes | memoryview, block: bytes, element_width: ElementWidth) -> bytes:
    """Return what one block of `difference_blocks` makes of as many bytes of the base, which are whole elements."""
    return _restored(_elements(old, element_width), block, element_width)


def padded_size(size_bytes: int, element_width: ElementWidth) -> int:
    """Return the size rounded up to whole elements."""
    return -(-size_bytes // element_width) * element_width


def _restored(old: NDArray[np.unsignedinteger], block: bytes, element_width: ElementWidth) -> bytes:
    planes = np.frombuffer(block, dtype=np.uint8).reshape(element_width, -1)
    zigzag = np.ascontiguousarray(planes.T).reshape(-1).view(f"<u{element_width}")
    change = (zigzag >> 1) ^ np.negative(zigzag & 1)
    new: NDArray[np.unsignedinteger] = (old + change).astype(f"<u{element_width}")
    return new.tobytes()


def _elements(block: bytes | memoryview, element_width: ElementWidth) -> NDArray[np.unsignedinteger]:
    """View bytes as little-endian unsigned integers, filled up with zeros to a whole element."""
    padding = padded_size(len(block), element_width) - len(block)
    return np.frombuffer(bytes(block) + bytes(padding) if padding else block, dtype=f"<u{element_width}")
