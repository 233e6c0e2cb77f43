"""A sample's arrays as .npz bytes and back; what comes back from a redactor is read with care."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from shoal_agent.capture.errors import CaptureError
from shoal_agent.engines import Array

_NUMBERS = "biuf"
_DAMAGE: Final = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile, zlib and numpy raise at bytes that are no archive of arrays."""


def to_npz(arrays: Mapping[str, Array]) -> bytes:
    """Return arrays of numbers by name as an uncompressed .npz."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # not `np.savez`, which takes no array by the name of its arguments
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def from_npz(data: bytes, max_bytes: int) -> dict[str, Array]:
    """Return the arrays of an .npz by name.

    Args:
        data: The archive, of whatever origin.
        max_bytes: What its arrays may come to once they are inflated.

    Raises:
        CaptureError: It is none, holds other things than numbers, or is larger.
    """
    doing, remedy = "reading a sample as .npz", "have the redactor write what numpy.savez writes"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size_bytes = sum(entry.file_size for entry in archive.infolist())
            if size_bytes > max_bytes:
                raise CaptureError(f"{doing}: {size_bytes} bytes found, at most {max_bytes} expected", remedy)
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except _DAMAGE as error:
        raise CaptureError(f"{doing}: {error}", remedy) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _NUMBERS:
            raise CaptureError(f"{doing}: {name[:64]!r} holds no array of numbers", remedy)
    return arrays
