"""LiteRT (`.tflite`): every buffer inside the file, built-in operators only, and no tensor larger than allowed.

Source: the schema of TensorFlow Lite (schema.fbs, version 3) and the FlatBuffers binary format.
"""

import struct
from collections.abc import Iterator
from typing import Final

from shoal_contract.formats.limits import MAX_DIMENSIONS, FileBytes, FormatError, FormatLimits, check_tensor_size

IDENTIFIER: Final = b"TFL3"
_CUSTOM: Final = 32
_MAX_TABLES: Final = 500_000
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_EXTERNAL_GROUPS, _MODEL_EXTERNAL_BUFFERS = 1, 2, 4, 8, 9
_CODE_DEPRECATED, _CODE_CUSTOM, _CODE_BUILTIN = 0, 1, 3
_GRAPH_TENSORS: Final = 0
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_EXTERNAL = 0, 1, 3, 10
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2
_ELEMENT_BITS: Final = {0: 32, 1: 16, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 9: 8, 10: 64, 12: 64, 15: 32, 16: 16, 17: 4}
_WIDEST_BITS: Final = 128
_REMEDY: Final = "convert the model again; the file was cut off or altered"


class _Reader:
    """Tables of a FlatBuffer, each access checked against the file's end and against a number of tables."""

    def __init__(self, data: FileBytes) -> None:
        self._data = data
        self._tables = 0

    def number(self, form: str, at: int) -> int:
        """Return the little-endian number at a place."""
        try:
            if at < 0:
                raise _malformed("a place before the file")
            return int(struct.unpack_from(f"<{form}", self._data, at)[0])
        except struct.error as error:
            raise _malformed(f"a reference to {at}, beyond its {len(self._data)} bytes,") from error

    def root(self) -> int:
        """Return where the root table lies."""
        return self.number("I", 0)

    def field(self, table: int, slot: int) -> int:
        """Return where a table's field lies, 0 where the table does not have it."""
        vtable = table - self.number("i", table)
        place = 4 + 2 * slot
        offset = self.number("H", vtable + place) if place < self.number("H", vtable) else 0
        return table + offset if offset else 0

    def scalar(self, form: str, table: int, slot: int) -> int:
        """Return a number of a table, 0 where it is left out."""
        at = self.field(table, slot)
        return self.number(form, at) if at else 0

    def span(self, table: int, slot: int, element_bytes: int) -> tuple[int, int]:
        """Return the first place and the number of elements of a vector; nothing where it is left out."""
        at = self.field(table, slot)
        if not at:
            return 0, 0
        start = at + self.number("I", at)
        count = self.number("I", start)
        if start + 4 + count * element_bytes > len(self._data):
            raise _malformed("a vector that ends outside of the file")
        return start + 4, count

    def tables(self, table: int, slot: int) -> Iterator[int]:
        """Yield the tables of a vector."""
        start, count = self.span(table, slot, 4)
        self._tables += count
        if self._tables > _MAX_TABLES:
            raise _malformed(f"more than {_MAX_TABLES} tables")
        for at in range(start, start + 4 * count, 4):
            yield at + self.number("I", at)

    def text(self, table: int, slot: int) -> str:
        """Return a string, empty where it is left out."""
        start, count = self.span(table, slot, 1)
        return self._data[start : start + min(count, 1024)].decode(errors="replace")


def check_litert(data: FileBytes, limits: FormatLimits) -> None:
    """Check a whole LiteRT file.

    Raises:
        FormatError: It is none, needs a custom operator that is not allowed, names data outside of itself, or has a
            tensor that is too large.
    """
    if data[4:8] != IDENTIFIER:
        raise _malformed(f"the identifier {data[4:8]!r}")
    reader = _Reader(data)
    model = reader.root()
    for slot in (_MODEL_EXTERNAL_GROUPS, _MODEL_EXTERNAL_BUFFERS):
        if reader.span(model, slot, 4)[1]:
            raise _external()
    for code in reader.tables(model, _MODEL_CODES):
        _check_operator(reader, code, limits)
    for buffer in reader.tables(model, _MODEL_BUFFERS):
        _check_buffer(reader, buffer, len(data))
    for graph in reader.tables(model, _MODEL_SUBGRAPHS):
        for tensor in reader.tables(graph, _GRAPH_TENSORS):
            _check_tensor(reader, tensor, limits)


def _check_operator(reader: _Reader, code: int, limits: FormatLimits) -> None:
    builtin = max(reader.scalar("b", code, _CODE_DEPRECATED), reader.scalar("i", code, _CODE_BUILTIN))
    name = reader.text(code, _CODE_CUSTOM)
    allowed = limits.litert_custom_ops
    if builtin == _CUSTOM and (name.startswith("Flex") or (allowed is not None and name not in allowed)):
        kind = "a TensorFlow (Flex) operator" if name.startswith("Flex") else "a custom operator"
        raise FormatError(
            f"it uses {name[:64]!r}, {kind}, which the runtime on devices does not have built in",
            "convert with TFLITE_BUILTINS only and without allow_custom_ops, or name a custom operator that the "
            "devices' runtime has in SHOAL_LITERT_CUSTOM_OPS at the hub",
        )


def _check_buffer(reader: _Reader, buffer: int, file_bytes: int) -> None:
    reader.span(buffer, _BUFFER_DATA, 1)
    offset, size = reader.scalar("Q", buffer, _BUFFER_OFFSET), reader.scalar("Q", buffer, _BUFFER_SIZE)
    if offset + size > file_bytes:
        raise _malformed("a buffer that ends outside of the file")


def _check_tensor(reader: _Reader, tensor: int, limits: FormatLimits) -> None:
    if reader.scalar("I", tensor, _TENSOR_EXTERNAL):
        raise _external()
    start, count = reader.span(tensor, _TENSOR_SHAPE, 4)
    shape = [reader.number("i", start + 4 * index) for index in range(min(count, MAX_DIMENSIONS + 1))]
    bits = _ELEMENT_BITS.get(reader.scalar("b", tensor, _TENSOR_TYPE), _WIDEST_BITS)
    check_tensor_size(reader.text(tensor, _TENSOR_NAME), shape, bits, limits)


def _external() -> FormatError:
    return FormatError(
        "it keeps tensors outside of the file, which a device never reads", "convert the model into one file"
    )


def _malformed(found: str) -> FormatError:
    return FormatError(f"it is no LiteRT file: {found} found", _REMEDY)
