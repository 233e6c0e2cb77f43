"""Which format a file is, by its content, and why the others are refused."""

import struct
from collections.abc import Callable
from typing import Final, Literal

from shoal_contract.formats.limits import DEFAULT_LIMITS, FileBytes, FormatError, FormatLimits
from shoal_contract.formats.litert import IDENTIFIER, check_litert
from shoal_contract.formats.onnx import check_onnx
from shoal_contract.formats.safetensors import LENGTH_BYTES, MAX_HEADER_BYTES, check_safetensors

DeviceFormat = Literal["onnx", "tflite", "safetensors"]
_CHECKS: Final[dict[DeviceFormat, Callable[[FileBytes, FormatLimits], None]]] = {
    "onnx": check_onnx,
    "tflite": check_litert,
    "safetensors": check_safetensors,
}
_REMEDY: Final = "export the model as ONNX, LiteRT (.tflite) or safetensors"
_HEAD_BYTES: Final = 512
_PICKLE: Final = "a pickle, which is code: whoever opens it runs what its author wrote"
_ZIP: Final = b"PK\x03\x04"
_REFUSED: Final[tuple[tuple[int, bytes, str], ...]] = (
    *((0, bytes([0x80, protocol]), _PICKLE) for protocol in range(2, 6)),
    (0, b"\x93NUMPY", "a NumPy array, which may hold pickled objects"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5, which may hold Keras layers of code and links to other files"),
    (0, b"\x1f\x8b", "compressed by gzip, as joblib writes pickles"),
    (0, b"\x78\x01", "compressed by zlib, as joblib writes pickles"),
    (0, b"\x78\x5e", "compressed by zlib, as joblib writes pickles"),
    (0, b"\x78\x9c", "compressed by zlib, as joblib writes pickles"),
    (0, b"\x78\xda", "compressed by zlib, as joblib writes pickles"),
    (0, b"BZh", "compressed by bzip2, as joblib writes pickles"),
    (0, b"\xfd7zXZ\x00", "compressed by xz, as joblib writes pickles"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (0, b"\x7fELF", "a program, not a model"),
    (0, b"MZ", "a program, not a model"),
    (0, b"#!", "a script, not a model"),
    (0, b"GGUF", "GGUF, which no runtime of the devices loads"),
    (4, b"ORTM", "in ONNX Runtime's own format, which is made for one build of it and is not checked here"),
    (257, b"ustar", "a tar archive, as PyTorch once wrote pickles"),
)
"""Marks of what is refused: where, which bytes, what it is."""
_IN_ZIP: Final[tuple[tuple[bytes, str], ...]] = (
    (b"data.pkl", "a PyTorch archive, which holds a pickle, and a pickle is code"),
    (b"metadata.json", "a Keras archive, which may hold layers of code; it is for the hub, not for devices"),
    (b"config.json", "a Keras archive, which may hold layers of code; it is for the hub, not for devices"),
    (b".npy", "a NumPy archive, which may hold pickled objects"),
)


def check_device_file(
    data: FileBytes, expected: DeviceFormat | None = None, limits: FormatLimits = DEFAULT_LIMITS
) -> DeviceFormat:
    """Return the format of a file, once all of it has been checked.

    Args:
        data: The whole file.
        expected: The format that it must have; None for any that devices take.
        limits: How much it may ask for.

    Raises:
        FormatError: It is none of these formats, not the expected one, or its content is refused.
    """
    found = _identify(data)
    if expected is not None and found != expected:
        raise FormatError(
            f"it is a file of the format {found}, expected the format {expected}", "name the file for what it is"
        )
    _CHECKS[found](data, limits)
    return found


def _identify(data: FileBytes) -> DeviceFormat:
    head = bytes(data[:_HEAD_BYTES])
    if not head:
        raise FormatError("it is empty", _REMEDY)
    if head[4:8] == IDENTIFIER:
        return "tflite"
    if head.startswith(_ZIP):
        raise FormatError(f"it is {_kind_of_zip(head)}", _REMEDY)
    for offset, mark, kind in _REFUSED:
        if head[offset : offset + len(mark)] == mark:
            raise FormatError(f"it is {kind}", _REMEDY)
    length = struct.unpack_from("<Q", head)[0] if len(head) > LENGTH_BYTES else 0
    if 0 < length <= MAX_HEADER_BYTES and head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        return "safetensors"
    return "onnx"  # it has no mark of its own; its check says whether it is one


def _kind_of_zip(head: bytes) -> str:
    return next((kind for name, kind in _IN_ZIP if name in head), "a zip archive, not a model")
