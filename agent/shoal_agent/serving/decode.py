"""From the bytes of an inference request to arrays that fit the model, or an error that says what is wrong.

Source: Open Inference Protocol v2, REST, `$inference_request`. Memory is bounded by the size of the body.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np

from shoal_agent.engines import NUMPY_TYPES, Array
from shoal_agent.serving.refusal import RequestError
from shoal_contract.manifest import TensorSpec

MAX_RANK: Final = 8
_SHOWN_CHARS: Final = 80


@dataclass(frozen=True)
class InferRequest:
    """A checked request: arrays by input name, and the names of the outputs that it wants."""

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[str, ...]


def decode_request(body: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> InferRequest:
    """Read an inference request.

    Args:
        body: JSON as it came.
        inputs: The model's inputs; each must be given once.
        outputs: The model's outputs; a request may ask for some of them.

    Raises:
        RequestError: Not JSON, not an inference request, or not for these inputs and outputs.
    """
    request = _object(_parse(body), "the request")
    request_id = request.get("id")
    if request_id is not None and not isinstance(request_id, str):
        msg = f"id is {_show(request_id)}, expected a string"
        raise RequestError(msg)
    given = [_object(item, f"inputs[{n}]") for n, item in enumerate(_list(request.get("inputs"), "inputs"))]
    names = [_name(item, f"inputs[{n}]") for n, item in enumerate(given)]
    expected = {spec.name: spec for spec in inputs}
    _check_names(names, list(expected))
    return InferRequest(
        id=request_id,
        inputs={name: _tensor(item, expected[name]) for name, item in zip(names, given, strict=True)},
        outputs=_wanted(request.get("outputs"), [spec.name for spec in outputs]),
    )


def _parse(body: bytes) -> Any:  # noqa: ANN401 - JSON may be anything
    try:
        return json.loads(body)
    except RecursionError as error:
        msg = "the body is JSON nested too deeply to be read"
        raise RequestError(msg) from error
    except ValueError as error:
        msg = f"the body is not JSON: {str(error)[:_SHOWN_CHARS]}"
        raise RequestError(msg) from error


def _check_names(names: list[str], expected: list[str]) -> None:
    if sorted(names) == sorted(expected):
        return
    for name in names:
        if name not in expected:
            msg = f"input {_show(name)} is not one of the model's inputs ({', '.join(expected)})"
            raise RequestError(msg)
        if names.count(name) > 1:
            msg = f"input {name!r} is given {names.count(name)} times, expected once"
            raise RequestError(msg)
    missing = ", ".join(name for name in expected if name not in names)
    msg = f"missing input {missing}; the model takes {', '.join(expected)}"
    raise RequestError(msg)


def _wanted(requested: object, known: list[str]) -> tuple[str, ...]:
    if requested is None:
        return tuple(known)
    items = _list(requested, "outputs")
    names = [_name(_object(item, f"outputs[{n}]"), f"outputs[{n}]") for n, item in enumerate(items)]
    for name in names:
        if name not in known:
            msg = f"output {_show(name)} is not one of the model's outputs ({', '.join(known)})"
            raise RequestError(msg)
    return tuple(dict.fromkeys(names)) or tuple(known)


def _tensor(item: dict[str, Any], spec: TensorSpec) -> Array:
    where = f"input {spec.name!r}"
    if item.get("datatype") != spec.datatype:
        msg = f"{where} has datatype {_show(item.get('datatype'))}, expected {spec.datatype!r}"
        raise RequestError(msg)
    shape = _shape(item.get("shape"), spec, where)
    if "data" not in item:
        msg = f"{where} has no data; this endpoint takes tensors as JSON arrays, the binary extension is not offered"
        raise RequestError(msg)
    nested, values = _flatten(_list(item["data"], f"{where}: data"), where)
    if len(nested) > 1 and nested != shape:
        msg = f"{where} has data nested as {list(nested)} but shape {list(shape)}, expected the same or a flat list"
        raise RequestError(msg)
    if len(values) != math.prod(shape):
        msg = f"{where} has {len(values)} elements, expected {math.prod(shape)} for shape {list(shape)}"
        raise RequestError(msg)
    return _array(values, spec.datatype, where).reshape(shape)


def _shape(found: object, spec: TensorSpec, where: str) -> tuple[int, ...]:
    wanted = f"expected {list(spec.shape)} (-1 stands for any size from 1)"
    # `type is int` because True is an int to isinstance.
    if not isinstance(found, list) or any(type(size) is not int or size < 1 for size in found):
        msg = f"{where} has shape {_show(found)}, {wanted}"
        raise RequestError(msg)
    fits = len(found) == len(spec.shape) and all(
        size in (-1, given) for size, given in zip(spec.shape, found, strict=True)
    )
    if not fits:
        msg = f"{where} has shape {_show(found)}, {wanted}"
        raise RequestError(msg)
    return tuple(found)


def _flatten(data: list[Any], where: str) -> tuple[tuple[int, ...], list[Any]]:
    """Return the nested shape and the leaves; level by level at C speed, memory bounded by the number of leaves."""
    shape = [len(data)]
    while list in (kinds := set(map(type, data))):
        if len(kinds) > 1:
            msg = f"{where} has ragged data: lists and single values side by side"
            raise RequestError(msg)
        lengths = set(map(len, data))
        if len(lengths) > 1:
            msg = f"{where} has ragged data: lists of {min(lengths)} and {max(lengths)} elements side by side"
            raise RequestError(msg)
        if len(shape) == MAX_RANK:
            msg = f"{where} has data nested more than {MAX_RANK} deep"
            raise RequestError(msg)
        shape.append(lengths.pop())
        data = list(chain.from_iterable(data))
    return tuple(shape), data


def _array(values: list[Any], datatype: str, where: str) -> Array:
    kind = NUMPY_TYPES[datatype]
    allowed: dict[str, set[type]] = {"b": {bool}, "f": {int, float}}
    wrong = set(map(type, values)) - allowed.get(kind.kind, {int})
    if wrong:
        first = next(value for value in values if type(value) in wrong)
        expected = {"b": "true or false", "f": "numbers"}.get(kind.kind, "whole numbers")
        msg = f"{where} has the element {_show(first)}, expected {expected} for {datatype}"
        raise RequestError(msg)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        if min(values) < limits.min or max(values) > limits.max:
            msg = f"{where} has elements from {_show(min(values))} to {_show(max(values))}, beyond {datatype}"
            raise RequestError(msg)
    return _finite(values, kind, where) if kind.kind == "f" else np.array(values, dtype=kind)


def _finite(values: list[Any], kind: np.dtype[Any], where: str) -> Array:
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=kind)
    except OverflowError:
        array = np.array([np.inf], dtype=kind)
    if not np.isfinite(array).all():
        msg = f"{where} has an element that is NaN, infinite or beyond the range of its datatype"
        raise RequestError(msg, remedy="send finite numbers only")
    return array


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        msg = f"{where} is {_show(value)}, expected a JSON object"
        raise RequestError(msg)
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        msg = f"{where} is {_show(value)}, expected a JSON array with at least one element"
        raise RequestError(msg)
    return value


def _name(item: dict[str, Any], where: str) -> str:
    name = item.get("name")
    if not isinstance(name, str):
        msg = f"{where} has name {_show(name)}, expected a string"
        raise RequestError(msg)
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
