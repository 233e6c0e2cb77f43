"""safetensors: a bounded JSON header whose tensors cover the rest of the file exactly, one after the other.

Source: the format's description at github.com/huggingface/safetensors.
"""

import json
import math
import struct
from typing import Any, Final, TypeGuard

from shoal_contract.formats.limits import FileBytes, FormatError, FormatLimits, check_tensor_size

MAX_HEADER_BYTES: Final = 4 * 1024 * 1024
LENGTH_BYTES: Final = 8
_ELEMENT_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
_METADATA: Final = "__metadata__"


def check_safetensors(data: FileBytes, limits: FormatLimits) -> None:
    """Check a whole safetensors file.

    Raises:
        FormatError: It is none, or a tensor is too large.
    """
    header, content_bytes = _header(data)
    spans = []
    for name, tensor in header.items():
        if name == _METADATA:
            _check_metadata(tensor)
            continue
        spans.append(_span(name, tensor, limits))
    at = 0
    for start, end in sorted(spans):
        if start != at:
            raise _malformed(f"tensors that leave or share bytes at {min(start, at)}")
        at = end
    if at != content_bytes:
        raise _malformed(f"tensors of {at} bytes in {content_bytes}")


def _header(data: FileBytes) -> tuple[dict[str, Any], int]:
    length = struct.unpack_from("<Q", data)[0] if len(data) >= LENGTH_BYTES else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - LENGTH_BYTES):  # noqa: PLR2004 - the two braces
        raise _malformed(f"a header of {length} bytes, at most {MAX_HEADER_BYTES} inside of the file are allowed,")
    try:
        header = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"a header that is not JSON ({str(error)[:100]})") from error
    if not isinstance(header, dict):
        raise _malformed("a header that is no object")
    return header, len(data) - LENGTH_BYTES - length


def _span(name: str, tensor: object, limits: FormatLimits) -> tuple[int, int]:
    parts = tensor if isinstance(tensor, dict) else {}
    dtype, shape, offsets = parts.get("dtype"), parts.get("shape"), parts.get("data_offsets")
    if dtype not in _ELEMENT_BITS or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:  # noqa: PLR2004
        raise _malformed(f"the tensor {name[:64]!r} with {str(tensor)[:100]}")
    check_tensor_size(name, shape, _ELEMENT_BITS[dtype], limits)
    start, end = offsets
    if end - start != math.prod(shape) * _ELEMENT_BITS[dtype] // 8:
        raise _malformed(f"the tensor {name[:64]!r} of {dtype}{shape} in {end - start} bytes")
    return start, end


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _malformed("metadata that is not text by name")


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        msg = "a name that stands twice"
        raise ValueError(msg)
    return unique


def _malformed(found: str) -> FormatError:
    return FormatError(
        f"it is no safetensors file: {found} found", "save the tensors again with the safetensors library"
    )
