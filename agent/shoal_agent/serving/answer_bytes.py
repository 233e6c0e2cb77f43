"""Answers as bytes for a store that others may write to: data alone, and whatever is not whole is no answer.

A digest under the answer's own key comes first, so that what was cut, changed or put under another key is found; what
it holds is then checked against the model's outputs. Whoever may write to the store and knows this form can still
answer in the model's place: who may is the store's to say.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from shoal_agent.endpoint import RequestError
from shoal_agent.engines import Array
from shoal_agent.serving.binary import Tail, read_tensor, write_tensor
from shoal_agent.serving.parameters import ANSWERED_BY, MEMBER_LABELS
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import DATATYPES

_MAGIC: Final = b"shoal1"
_DIGEST_BYTES: Final = 16
_HEAD: Final = struct.Struct("<I")
_START: Final = len(_MAGIC) + _DIGEST_BYTES
_BESIDE: Final = {ANSWERED_BY: ("INT64", (-1,)), MEMBER_LABELS: ("INT64", (-1, -1))}
"""What a composition says of its answer besides its outputs, which no model declares."""


def encode_outputs(key: bytes, outputs: Mapping[str, Array]) -> bytes:
    """Return outputs as bytes, to be kept under this key of at most 64 bytes."""
    described, tail = [], []
    for name, array in sorted(outputs.items()):
        data = bytes(write_tensor(np.ascontiguousarray(array)))
        tail.append(data)
        datatype = DATATYPES[array.dtype.newbyteorder("=")]
        described.append({"name": name, "datatype": datatype, "shape": list(array.shape), "size": len(data)})
    head = json.dumps(described).encode()
    body = b"".join((_HEAD.pack(len(head)), head, *tail))
    return _MAGIC + _digest(key, body) + body


def decode_outputs(key: bytes, data: bytes, specs: Sequence[TensorSpec]) -> dict[str, Array] | None:
    """Return the outputs that were kept under a key, which are not to be changed; None where it is no whole answer.

    Args:
        key: What they were kept under.
        data: What was found there.
        specs: The outputs of the model that would answer.
    """
    body = data[_START:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : _START] != _digest(key, body):
        return None
    try:
        (head_bytes,) = _HEAD.unpack_from(body)
        tail = Tail(body[_HEAD.size :], head_bytes)
        described: list[dict[str, Any]] = json.loads(bytes(tail.head))
        outputs = {}
        declared = {spec.name: (spec.datatype, spec.shape) for spec in specs}
        for item in described:
            name, shape = str(item["name"]), tuple(int(size) for size in item["shape"])
            datatype, wanted = (_BESIDE | declared)[name]
            if item["datatype"] != datatype or name in outputs or not _fits(shape, wanted):
                return None
            outputs[name] = read_tensor(tail.take(item["size"], name), datatype, shape, name)
        tail.check_end()
        if not declared.keys() <= outputs.keys():
            return None
    except (RequestError, ValueError, KeyError, TypeError, struct.error):
        return None
    return outputs


def _digest(key: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST_BYTES, key=key).digest()


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size >= 0 and expected in {-1, size} for size, expected in zip(shape, wanted, strict=True)
    )
