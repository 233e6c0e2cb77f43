"""From the bytes of an inference request to arrays that fit the model, or an error that says what is wrong.

Source: Open Inference Protocol v2, REST, `$inference_request`, and its binary tensor data extension. Memory is bounded
by the size of the body.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic_core import from_json

from shoal_agent.endpoint import RequestError
from shoal_agent.engines import NUMPY_TYPES, Array, bytes_array
from shoal_agent.serving.binary import Tail, read_tensor
from shoal_contract.manifest import TensorSpec

MAX_RANK: Final = 8
_SHOWN_CHARS: Final = 80
_ALLOWED: Final[dict[str, tuple[set[type], str]]] = {
    "b": ({bool}, "true or false"),
    "f": ({int, float}, "numbers"),
    "i": ({int}, "whole numbers"),
    "u": ({int}, "whole numbers"),
    "O": ({str}, "text"),
}
"""What JSON values stand for an element, by the kind of the numpy type."""


class Wanted(NamedTuple):
    """An output that a request wants, and whether as binary data."""

    name: str
    is_binary: bool


class InferRequest(NamedTuple):
    """A checked request: arrays by input name, and the outputs that it wants."""

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[Wanted, ...]


def decode_request(
    body: bytes | bytearray | memoryview,
    json_bytes: int | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    allow_non_finite: bool = False,
) -> InferRequest:
    """Read an inference request.

    Args:
        body: As it came. Inputs given as binary data may share its memory.
        json_bytes: Where the JSON ends and the binary data begins; None: all of it is JSON.
        inputs: The model's inputs; each must be given once.
        outputs: The model's outputs; a request may ask for some of them.
        allow_non_finite: Whether inputs may hold NaN and infinity.

    Raises:
        RequestError: Not JSON, not an inference request, or not for these inputs and outputs.
    """
    tail = None if json_bytes is None else Tail(body, json_bytes)
    request = _object(_parse(body if tail is None else tail.head), "the request")
    request_id = request.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError(f"id is {_show(request_id)}, expected a string")
    given = [_object(item, f"inputs[{n}]") for n, item in enumerate(_list(request.get("inputs"), "inputs"))]
    names = [_name(item, f"inputs[{n}]") for n, item in enumerate(given)]
    expected = {spec.name: spec for spec in inputs}
    check_names(names, list(expected))
    arrays = {
        name: _tensor(item, expected[name], tail, allow_non_finite=allow_non_finite)
        for name, item in zip(names, given, strict=True)
    }
    if tail is not None:
        tail.check_end()
    is_binary = _flag(_parameters(request, "the request"), "binary_data_output")
    wanted = _wanted(request.get("outputs"), [spec.name for spec in outputs], is_binary=is_binary)
    return InferRequest(request_id, arrays, wanted)


def _parse(body: bytes | bytearray | memoryview) -> Any:  # noqa: ANN401 - JSON may be anything
    try:
        return from_json(bytes(body) if isinstance(body, memoryview) else body)
    except ValueError as error:
        text = str(error)[:_SHOWN_CHARS]
        nested = ", or nested too deeply to be read" if "recursion" in text else ""
        raise RequestError(f"the body is not JSON{nested}: {text}") from error


def check_finite(array: Array, name: str) -> None:
    """See that an input holds finite numbers only.

    Raises:
        RequestError: It does not.
    """
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(array.sum())  # one pass, and no array of truths
    if not is_finite and not np.isfinite(array).all():
        message = f"input {name!r} has an element that is NaN, infinite or beyond the range of its datatype"
        raise RequestError(message, remedy="send finite numbers only", misfit="non_finite")


def check_names(names: list[str], expected: list[str]) -> None:
    """See that each of the model's inputs is given once, and nothing else.

    Raises:
        RequestError: It is not so.
    """
    if sorted(names) == sorted(expected):
        return
    for name in names:
        if name not in expected:
            known = ", ".join(expected)
            raise RequestError(f"input {_show(name)} is not one of the model's inputs ({known})", misfit="extra")
        if names.count(name) > 1:
            raise RequestError(f"input {name!r} is given {names.count(name)} times, expected once", misfit="extra")
    missing = ", ".join(name for name in expected if name not in names)
    msg = f"missing input {missing}; the model takes {', '.join(expected)}"
    raise RequestError(msg, misfit="missing")


def _wanted(requested: object, known: list[str], *, is_binary: bool) -> tuple[Wanted, ...]:
    if requested is None:
        return tuple(Wanted(name, is_binary) for name in known)
    wanted = {}
    for n, found in enumerate(_list(requested, "outputs")):
        where = f"outputs[{n}]"
        item = _object(found, where)
        name = _name(item, where)
        if name not in known:
            raise RequestError(f"output {_show(name)} is not one of the model's outputs ({', '.join(known)})")
        parameters = _parameters(item, where)
        if "classification" in parameters:
            remedy = "ask for the whole output, and take the largest values"
            raise RequestError(f"{where} asks for the classification extension, which is not offered", remedy=remedy)
        wanted[name] = Wanted(name, _flag(parameters, "binary_data", otherwise=is_binary))
    return tuple(wanted.values())


def _tensor(item: dict[str, Any], spec: TensorSpec, tail: Tail | None, *, allow_non_finite: bool) -> Array:
    where = f"input {spec.name!r}"
    if item.get("datatype") != spec.datatype:
        message = f"{where} has datatype {_show(item.get('datatype'))}, expected {spec.datatype!r}"
        raise RequestError(message, misfit="retyped")
    shape = check_shape(item.get("shape"), spec, where)
    parameters = _parameters(item, where)
    if "shared_memory_region" in parameters:
        remedy = "send the tensor itself, over the Unix-domain socket if its size matters"
        raise RequestError(f"{where} lies in shared memory, an extension that is not offered", remedy=remedy)
    if "binary_data_size" in parameters:
        array = _binary(item, parameters["binary_data_size"], spec, shape, tail)
    else:
        array = _from_json(item, spec, shape)
    if not allow_non_finite:
        check_finite(array, spec.name)
    return array


def _binary(item: dict[str, Any], size: object, spec: TensorSpec, shape: tuple[int, ...], tail: Tail | None) -> Array:
    where = f"input {spec.name!r}"
    if tail is None:
        message = f"{where} is given as binary data, but the request has no header Inference-Header-Content-Length"
        raise RequestError(message, remedy="say with that header where the JSON ends")
    if "data" in item:
        raise RequestError(f"{where} is given both as data and as binary data, expected one of them")
    if type(size) is not int:
        raise RequestError(f"{where}: binary_data_size is {_show(size)}, expected a number of bytes")
    return read_tensor(tail.take(size, where), spec.datatype, shape, where)


def _from_json(item: dict[str, Any], spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    where = f"input {spec.name!r}"
    if "data" not in item:
        raise RequestError(f"{where} has no data", remedy="give its elements, or binary data by binary_data_size")
    nested, values = _flatten(_list(item["data"], f"{where}: data"), where)
    if len(nested) > 1 and nested != shape:
        message = f"{where} has data nested as {list(nested)} but shape {list(shape)}, expected the same or a flat list"
        raise RequestError(message)
    if len(values) != math.prod(shape):
        message = f"{where} has {len(values)} elements, expected {math.prod(shape)} for shape {list(shape)}"
        raise RequestError(message, misfit="reshaped")
    return _array(values, spec.datatype, where).reshape(shape)


def check_shape(found: object, spec: TensorSpec, where: str) -> tuple[int, ...]:
    """Return a given shape if it fits an input.

    Raises:
        RequestError: It does not.
    """
    wanted = f"expected {list(spec.shape)} (-1 stands for any size from 1)"
    # `type is int` because True is an int to isinstance.
    if not isinstance(found, list) or any(type(size) is not int or size < 1 for size in found):
        raise RequestError(f"{where} has shape {_show(found)}, {wanted}")
    fits = len(found) == len(spec.shape) and all(
        size in (-1, given) for size, given in zip(spec.shape, found, strict=True)
    )
    if not fits:
        raise RequestError(f"{where} has shape {_show(found)}, {wanted}", misfit="reshaped")
    return tuple(found)


def _flatten(data: list[Any], where: str) -> tuple[tuple[int, ...], list[Any]]:
    """Return the nested shape and the leaves; level by level at C speed, memory bounded by the number of leaves."""
    shape = [len(data)]
    while list in (kinds := set(map(type, data))):
        if len(kinds) > 1:
            raise RequestError(f"{where} has ragged data: lists and single values side by side")
        lengths = set(map(len, data))
        if len(lengths) > 1:
            found = f"{min(lengths)} and {max(lengths)}"
            raise RequestError(f"{where} has ragged data: lists of {found} elements side by side")
        if len(shape) == MAX_RANK:
            raise RequestError(f"{where} has data nested more than {MAX_RANK} deep")
        shape.append(lengths.pop())
        data = list(chain.from_iterable(data))
    return tuple(shape), data


def _array(values: list[Any], datatype: str, where: str) -> Array:
    kind = NUMPY_TYPES[datatype]
    allowed, expected = _ALLOWED[kind.kind]
    wrong = set(map(type, values)) - allowed
    if wrong:
        first = next(value for value in values if type(value) in wrong)
        message = f"{where} has the element {_show(first)}, expected {expected} for {datatype}"
        raise RequestError(message, misfit="retyped")
    if kind.kind == "O":
        return bytes_array([value.encode() for value in values])
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        if min(values) < limits.min or max(values) > limits.max:
            found = f"{_show(min(values))} to {_show(max(values))}"
            raise RequestError(f"{where} has elements from {found}, beyond {datatype}")
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=kind)
    except OverflowError:  # a whole number beyond float64
        return np.full(len(values), np.inf, dtype=kind)


def _parameters(item: dict[str, Any], where: str) -> dict[str, Any]:
    found = item.get("parameters")
    return _object(found, f"{where}: parameters") if found is not None else {}


def _flag(parameters: dict[str, Any], name: str, *, otherwise: bool = False) -> bool:
    found = parameters.get(name, otherwise)
    if not isinstance(found, bool):
        raise RequestError(f"parameter {name} is {_show(found)}, expected true or false")
    return found


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{where} is {_show(value)}, expected a JSON object")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RequestError(f"{where} is {_show(value)}, expected a JSON array with at least one element")
    return value


def _name(item: dict[str, Any], where: str) -> str:
    name = item.get("name")
    if not isinstance(name, str):
        raise RequestError(f"{where} has name {_show(name)}, expected a string")
    return name


def _show(value: object) -> str:
    """Return a short form of what a client sent; a long number or list is not written out first."""
    if isinstance(value, list):
        shown = ", ".join(_show(item) for item in value[:MAX_RANK])
        return f"[{shown}{', ...' if len(value) > MAX_RANK else ''}]"[:_SHOWN_CHARS]
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    if isinstance(value, int) and abs(value) > 2**64:
        return "a number beyond 64 bits"
    return "nothing" if value is None else repr(value[:_SHOWN_CHARS] if isinstance(value, str) else value)
