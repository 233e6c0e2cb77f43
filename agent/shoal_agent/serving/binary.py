"""Tensors as bytes: little-endian, row-major; elements of BYTES each behind its length, four bytes, little-endian.

Source: the binary tensor data extension of the Open Inference Protocol v2.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import numpy as np

from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import Piece
from shoal_agent.engines import NUMPY_TYPES, Array

_LENGTH: Final = struct.Struct("<I")


class Tail:
    """The binary data behind a request's JSON, taken piece by piece.

    Args:
        body: The whole body.
        json_bytes: How many of its bytes are JSON.

    Raises:
        RequestError: The JSON would be longer than the body.
    """

    def __init__(self, body: bytes | bytearray | memoryview, json_bytes: int) -> None:
        if json_bytes > len(body):
            message = f"Inference-Header-Content-Length is {json_bytes}, but the body has {len(body)} bytes"
            raise RequestError(message, remedy="say with that header where the JSON ends")
        view = memoryview(body)
        self.head = view[:json_bytes]
        self._rest = view[json_bytes:]

    def take(self, size_bytes: int, where: str) -> memoryview:
        """Return the next piece.

        Raises:
            RequestError: So much is not there.
        """
        if not 0 <= size_bytes <= len(self._rest):
            message = f"{where}: binary_data_size is {size_bytes}, but {len(self._rest)} bytes of binary data are left"
            raise RequestError(message)
        piece, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        return piece

    def check_end(self) -> None:
        """See that nothing is left over.

        Raises:
            RequestError: Something is.
        """
        if len(self._rest):
            raise RequestError(f"{len(self._rest)} bytes of binary data belong to no input")


def read_tensor(data: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> Array:
    """Return bytes as an array, which shares their memory where that is aligned.

    Raises:
        RequestError: The bytes are too many or too few, or no elements of that type.
    """
    kind = NUMPY_TYPES[datatype]
    if kind.kind == "O":
        return _split(data, math.prod(shape), where).reshape(shape)
    expected_bytes = math.prod(shape) * kind.itemsize
    if len(data) != expected_bytes:
        message = f"{where} has {len(data)} bytes, expected {expected_bytes} for {datatype} of shape {list(shape)}"
        raise RequestError(message)
    array = np.frombuffer(data, dtype=kind.newbyteorder("<")).astype(kind, copy=False)
    if kind.kind == "b" and (array.view(np.uint8) > 1).any():
        raise RequestError(f"{where} has a byte above 1, expected 0 or 1 for BOOL")
    return np.require(array, requirements="A").reshape(shape)


def write_tensor(array: Array) -> Piece:
    """Return an array's elements as bytes; shares its memory where it can."""
    if array.dtype.kind == "O":
        return b"".join(_LENGTH.pack(len(element)) + element for element in array.ravel())
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _split(data: memoryview, count: int, where: str) -> Array:
    """Return the elements of a BYTES tensor, flat, as an array of `bytes`."""
    if count * _LENGTH.size > len(data):
        raise RequestError(f"{where} has {len(data)} bytes, too few for {count} elements of BYTES")
    found: Any = np.empty(count, dtype=np.object_)
    at = 0
    for n in range(count):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(data, at)[0] if start <= len(data) else len(data) + 1
        if at > len(data):
            raise RequestError(f"{where}: element {n} of {count} ends behind the {len(data)} bytes of the tensor")
        found[n] = bytes(data[start:at])
    if at != len(data):
        raise RequestError(f"{where} has {len(data) - at} bytes behind its {count} elements")
    return found  # type: ignore[no-any-return]
