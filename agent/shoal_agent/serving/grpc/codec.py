"""Between the messages of the protocol and arrays: by typed contents, or by raw bytes as the binary extension has them.

Source: Open Inference Protocol v2, `ModelInferRequest` and `ModelInferResponse`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from shoal_agent.endpoint import RequestError
from shoal_agent.engines import NUMPY_TYPES, Array, bytes_array
from shoal_agent.serving.binary import read_tensor, write_tensor
from shoal_agent.serving.decode import InferRequest, Wanted, check_finite, check_names, check_shape
from shoal_agent.serving.grpc.messages import MESSAGES
from shoal_contract.manifest import TensorSpec

_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where the elements of a datatype are; FP16 has no such place and comes as raw bytes."""


def decode_message(
    message: Any,  # noqa: ANN401 - built from a table
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    allow_non_finite: bool = False,
) -> InferRequest:
    """Read a `ModelInferRequest`.

    Raises:
        RequestError: It is not for these inputs and outputs.
    """
    given = [item.name for item in message.inputs]
    expected = {spec.name: spec for spec in inputs}
    check_names(given, list(expected))
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(given):
        raise RequestError(f"raw_input_contents has {len(raw)} entries, expected one for each of {len(given)} inputs")
    arrays = {}
    for place, item in enumerate(message.inputs):
        spec = expected[item.name]
        if item.datatype != spec.datatype:
            found = f"input {spec.name!r} has datatype {item.datatype[:20]!r}"
            raise RequestError(f"{found}, expected {spec.datatype!r}", misfit="retyped")
        array = _tensor(item, spec, raw[place] if raw else None)
        if not allow_non_finite:
            check_finite(array, spec.name)
        arrays[spec.name] = array
    known = [spec.name for spec in outputs]
    wanted = [item.name for item in message.outputs] or known
    for name in wanted:
        if name not in known:
            raise RequestError(f"output {name[:80]!r} is not one of the model's outputs ({', '.join(known)})")
    is_raw = bool(raw) or any(spec.datatype == "FP16" for spec in outputs)
    return InferRequest(message.id or None, arrays, tuple(Wanted(name, is_raw) for name in dict.fromkeys(wanted)))


def _tensor(item: Any, spec: TensorSpec, raw: bytes | None) -> Array:  # noqa: ANN401 - built from a table
    where = f"input {spec.name!r}"
    shape = check_shape(list(item.shape), spec, where)
    if raw is not None:
        return read_tensor(memoryview(raw), spec.datatype, shape, where)
    if spec.datatype not in _CONTENTS:
        raise RequestError(f"{where} is FP16, which comes as raw_input_contents only")
    values = getattr(item.contents, _CONTENTS[spec.datatype])
    if len(values) != math.prod(shape):
        message = f"{where} has {len(values)} elements, expected {math.prod(shape)} for shape {list(shape)}"
        raise RequestError(message, misfit="reshaped")
    kind = NUMPY_TYPES[spec.datatype]
    if kind.kind == "O":
        return bytes_array(list(values)).reshape(shape)
    array = np.array(values, dtype={"i": np.int64, "u": np.uint64}.get(kind.kind, kind))
    converted = array.astype(kind)
    if kind.kind in "iu" and not (converted == array).all():
        raise RequestError(f"{where} has elements beyond {spec.datatype}")
    return converted.reshape(shape)


def encode_message(
    about: tuple[str, int, str], asked: InferRequest, outputs: Mapping[str, Array], specs: Sequence[TensorSpec]
) -> Any:  # noqa: ANN401 - built from a table
    """Return a `ModelInferResponse`.

    Args:
        about: The model's name, its version, and the answer's id.
        asked: Which outputs are wanted; all of them as raw bytes where one is.
        outputs: The answer.
        specs: The model's outputs.
    """
    name, version, answer_id = about
    message = MESSAGES["ModelInferResponse"](model_name=name, model_version=str(version), id=answer_id)
    datatypes = {spec.name: spec.datatype for spec in specs}
    is_raw = any(wanted.is_binary for wanted in asked.outputs)
    for wanted in asked.outputs:
        array = outputs[wanted.name]
        added = message.outputs.add(name=wanted.name, datatype=datatypes[wanted.name], shape=array.shape)
        if is_raw:
            message.raw_output_contents.append(bytes(write_tensor(array)))
        else:
            getattr(added.contents, _CONTENTS[datatypes[wanted.name]]).extend(array.ravel().tolist())
    return message
