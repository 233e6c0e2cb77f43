"""Hashes texts all at once, so that whether some are the same is known without a table of them."""

from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_training.validation.text_layout import WORD, TextLayout, Words

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES: Final = 64
"""Of a text; columns with longer ones are not hashed here."""
_MULTIPLIERS: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))
_SHIFT: Final = np.uint64(29)


def text_hashes(column: "pa.ChunkedArray") -> Words | None:
    """Return a hash of each text, (rows,); the same texts have the same one, others seldom.

    None where it has missing texts, ones of more than `MAX_BYTES`, or a layout of another kind.
    """
    import pyarrow as pa

    if column.type != pa.string() or column.null_count or not len(column):
        return None
    parts = [_of_chunk(chunk) for chunk in column.chunks if len(chunk)]
    return None if any(part is None for part in parts) else np.concatenate([part for part in parts if part is not None])


def _of_chunk(chunk: "pa.StringArray") -> Words | None:
    starts, sizes, words, _ = TextLayout.of(chunk, pad=MAX_BYTES)
    most = int(sizes.max())
    if most > MAX_BYTES:
        return None
    found = sizes.astype(np.uint64) * _MULTIPLIERS[0]
    for at in range(0, most, WORD):
        left = np.clip(sizes - at, 0, WORD).astype(np.uint64)
        word = words[starts + at] & _LOWEST[left.astype(np.int64)]
        mixed = (found ^ word) * _MULTIPLIERS[1]
        mixed ^= mixed >> _SHIFT
        # A text that has ended stays as it is: how long others are, chunk by chunk, must not change its hash.
        found = np.where(left > 0, mixed, found)
    return found


_LOWEST: Final = np.array([(1 << 8 * size) - 1 for size in range(WORD + 1)], dtype=np.uint64)
"""What keeps the first bytes of a word."""
