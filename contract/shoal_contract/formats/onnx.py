"""ONNX: every tensor's data in the file itself, operators of known domains only, and no tensor larger than allowed.

A runtime reads external data from the path that the file names, and one that loads from memory takes it relative to
its working directory; so any mention of external data is refused, wherever a tensor can stand.
Source: onnx/onnx.proto (IR version 13).
"""

from dataclasses import dataclass, field
from typing import Final

from shoal_contract.formats.limits import MAX_DIMENSIONS, FileBytes, FormatError, FormatLimits, check_tensor_size
from shoal_contract.formats.wire_format import LENGTH, VARINT, Field, fields, malformed, varint

CHILDREN: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 14: "StringStringEntryProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto",
        22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}  # fmt: skip
"""Fields that lead to nodes and tensors, by message; a test holds them against the schema."""
_MAX_FIELDS: Final = 1_000_000
_MAX_DEPTH: Final = 64
_ELEMENT_BITS: Final = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 8: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
    16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
_WIDEST_BITS: Final = 128
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_METADATA = 1, 7, 14
_NODE_OP_TYPE, _NODE_DOMAIN = 4, 7
_FUNCTION_NAME, _FUNCTION_DOMAIN = 1, 10
_DIMS, _DATA_TYPE, _TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 8, 13, 14
_FILE_OPS: Final = frozenset({"EPContext"})
"""Operators that read a file or run a compiled program which their attributes name."""
_LIBRARY_ENDINGS: Final = (".so", ".dll", ".dylib")
_LIBRARY_KEYS: Final = ("ort_config", "custom_op")


@dataclass
class _Walk:
    """What is seen of a file on the way through it."""

    data: FileBytes
    limits: FormatLimits
    seen_fields: int = 0
    nodes: set[tuple[str, str]] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)


def check_onnx(data: FileBytes, limits: FormatLimits) -> None:
    """Check a whole ONNX file.

    Raises:
        FormatError: It is none, names data outside of itself, an operator that is not allowed, a library of operators
            or a tensor that is too large.
    """
    walk = _Walk(data, limits)
    found: set[int] = set()
    waiting = [("ModelProto", 0, len(data), 0)]
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise malformed(f"graphs nested more than {_MAX_DEPTH} deep")
        parts = list(_parts(walk, message, start, end))
        if message == "ModelProto":
            found = {part.number for part in parts}
        _look_at(walk, message, parts)
        children = CHILDREN.get(message, {})
        waiting += [
            (children[part.number], part.start, part.end, depth + 1) for part in parts if part.number in children
        ]
    if not found >= {_MODEL_IR_VERSION, _MODEL_GRAPH}:
        raise malformed("no IR version and graph")
    _check_operators(walk)


def _parts(walk: _Walk, message: str, start: int, end: int) -> list[Field]:
    parts = []
    for part in fields(walk.data, start, end):
        walk.seen_fields += 1
        if walk.seen_fields > _MAX_FIELDS:
            raise malformed(f"more than {_MAX_FIELDS} fields")
        if part.number in CHILDREN.get(message, {}) and part.wire_type != LENGTH:
            raise malformed(f"field {part.number} of {message} with wire type {part.wire_type}")
        parts.append(part)
    return parts


def _look_at(walk: _Walk, message: str, parts: list[Field]) -> None:
    if message == "TensorProto":
        _check_tensor(walk, parts)
    elif message == "NodeProto":
        walk.nodes.add((_text(walk, parts, _NODE_DOMAIN), _text(walk, parts, _NODE_OP_TYPE)))
    elif message == "FunctionProto":
        walk.functions.add((_text(walk, parts, _FUNCTION_DOMAIN), _text(walk, parts, _FUNCTION_NAME)))
    elif message == "StringStringEntryProto":
        _check_metadata(_text(walk, parts, 1), _text(walk, parts, 2))


def _check_tensor(walk: _Walk, parts: list[Field]) -> None:
    name = _text(walk, parts, _TENSOR_NAME)
    for part in parts:
        if part.number == _EXTERNAL_DATA or (part.number == _DATA_LOCATION and (part.value or part.wire_type)):
            where = _location(walk, part) if part.number == _EXTERNAL_DATA else ""
            raise FormatError(
                f"its tensor {name[:64]!r} keeps its data outside of the file{where}, which a device never reads",
                "save the model as one file: onnx.save_model(model, path, save_as_external_data=False)",
            )
    types = [part.value for part in parts if part.number == _DATA_TYPE]
    bits = max((_ELEMENT_BITS.get(kind, _WIDEST_BITS) for kind in types), default=_WIDEST_BITS)
    check_tensor_size(name, _dims(walk, parts), bits, walk.limits)


def _dims(walk: _Walk, parts: list[Field]) -> list[int]:
    dims: list[int] = []
    for part in parts:
        if part.number == _DIMS and part.wire_type == VARINT:
            dims.append(part.value)
        elif part.number == _DIMS:
            at = part.start
            while at < part.end:
                value, at = varint(walk.data, at, part.end)
                dims.append(value)
                if len(dims) > MAX_DIMENSIONS:
                    raise malformed(f"a tensor of more than {MAX_DIMENSIONS} dimensions")
    return [size - 2**64 if size >= 2**63 else size for size in dims]


def _location(walk: _Walk, part: Field) -> str:
    entry = list(fields(walk.data, part.start, part.end)) if part.wire_type == LENGTH else []
    return f" ({_text(walk, entry, 1)[:32]} {_text(walk, entry, 2)[:128]!r})" if entry else ""


def _check_metadata(key: str, value: str) -> None:
    if any(word in key.lower() for word in _LIBRARY_KEYS) or value.lower().strip().endswith(_LIBRARY_ENDINGS):
        raise FormatError(
            f"its metadata {key[:64]!r} names a library or options for the runtime, which no device takes from a file",
            "remove this entry from the model's metadata_props, and express the operators by standard ones",
        )


def _check_operators(walk: _Walk) -> None:
    allowed = walk.limits.onnx_domains
    for domain, op_type in sorted(walk.nodes):
        is_own = (domain, op_type) in walk.functions
        if op_type in _FILE_OPS or (allowed is not None and domain not in allowed and not is_own):
            raise FormatError(
                f"its operator {op_type[:64]!r} is of the domain {domain[:64]!r}, which needs a library of its own; "
                f"allowed are {', '.join(sorted(repr(one) for one in allowed or ()))}",
                "export with standard operators only, or add a domain that the devices' runtime has built in "
                "(like com.microsoft) to SHOAL_ONNX_DOMAINS at the hub",
            )


def _text(walk: _Walk, parts: list[Field], number: int) -> str:
    """Return a string field; of several the last one counts, as for every parser."""
    spans = [(part.start, part.end) for part in parts if part.number == number and part.wire_type == LENGTH]
    start, end = spans[-1] if spans else (0, 0)
    return walk.data[start : min(end, start + 1024)].decode(errors="replace")
