"""The fields of a protobuf message, without protobuf: number, wire type and where the value lies.

Source: the Protocol Buffers encoding (protobuf.dev/programming-guides/encoding). Stricter than any parser of it: what
two parsers could read differently (groups, overlong numbers, fields that end outside of their message) is refused.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from shoal_contract.formats.limits import FileBytes, FormatError

VARINT: Final = 0
LENGTH: Final = 2
_FIXED: Final = {1: 8, 5: 4}
_MAX_VARINT_BYTES: Final = 10
_MAX_TAG: Final = 2**32
_REMEDY: Final = "export the model again; it was cut off or altered"


class Field(NamedTuple):
    """One field; `value` is the number of a varint, otherwise 0; its bytes are `data[start:end]`."""

    number: int
    wire_type: int
    value: int
    start: int
    end: int


def fields(data: FileBytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message that lies in `data[start:end]`.

    Raises:
        FormatError: It is no message.
    """
    at = start
    while at < end:
        tag, at = varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        if number == 0 or tag >= _MAX_TAG:
            raise malformed(f"field number {number}")
        if wire_type == VARINT:
            value, stop = varint(data, at, end)
            yield Field(number, wire_type, value, at, stop)
        else:
            at, stop = _span(data, wire_type, at, end)
            yield Field(number, wire_type, 0, at, stop)
        at = stop


def varint(data: FileBytes, at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at `at`, and where it ends.

    Raises:
        FormatError: It does not end inside of the message.
    """
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= end:
            raise malformed("a number that is cut off")
        octet = data[at + index]
        value |= (octet & 0x7F) << (7 * index)
        if octet < 0x80:  # noqa: PLR2004 - the continuation bit
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
    raise malformed("a number of more than 10 bytes")


def malformed(found: str) -> FormatError:
    """Return the error for bytes that are no message of this schema."""
    return FormatError(f"it is no ONNX file: {found} found", _REMEDY)


def _span(data: FileBytes, wire_type: int, at: int, end: int) -> tuple[int, int]:
    if wire_type == LENGTH:
        length, at = varint(data, at, end)
    elif wire_type in _FIXED:
        length = _FIXED[wire_type]
    else:
        raise malformed(f"wire type {wire_type}")
    if at + length > end:
        raise malformed("a field that ends outside of its message")
    return at, at + length
