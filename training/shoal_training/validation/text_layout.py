"""Where the bytes of a column's texts lie, so that all texts are looked at at once and none becomes a Python string."""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

WORD: Final = 8
"""Bytes that are read at once."""
Words = npt.NDArray[np.uint64]


class TextLayout(NamedTuple):
    """The texts of a chunk of `pa.string()`.

    Attributes:
        starts: Where each begins, (rows,).
        sizes: Its bytes, (rows,).
        words: The eight bytes from any place on, little-endian, (bytes + pad,); zeros stand behind the last text.
        content: The bytes of all, one text behind the other, (bytes,).
    """

    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    words: Words
    content: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, chunk: "pa.StringArray", pad: int = 0) -> "TextLayout":
        """Read the layout; words may be asked for up to `pad` bytes behind the last text's end."""
        _, places, content = chunk.buffers()
        ends = np.frombuffer(places, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        first, last = int(ends[0]), int(ends[-1])
        padded = np.zeros(last - first + pad + WORD, dtype=np.uint8)
        if content is not None:
            padded[: last - first] = np.frombuffer(content, dtype=np.uint8)[first:last]
        words: Words = np.ndarray((len(padded) - WORD + 1,), dtype="<u8", buffer=padded, strides=(1,))
        return cls(ends[:-1].astype(np.int64) - first, np.diff(ends), words, padded[: last - first])
