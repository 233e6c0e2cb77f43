"""Golden tensors of a manifest as arrays, also those that are too large to travel: made here, or compared in part."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from shoal_contract.manifest import GeneratedTensor, SampledTensor, TensorData
from shoal_numerics.tensors import NUMPY_TYPES, Array, from_tensor_data, to_tensor_data

GOLDEN_BYTES: Final = 256 * 1024
"""A larger golden tensor is generated, or compared in part: the manifest travels to every device."""
_BLOCK: Final = 65_536
_WORD_BYTES: Final = 4
_WORDS: Final = 2**32


def golden_array(tensor: TensorData | GeneratedTensor) -> Array:
    """Return a golden input as an array of its shape; the array owns its memory."""
    return generated_array(tensor) if isinstance(tensor, GeneratedTensor) else from_tensor_data(tensor)


def generated_array(tensor: GeneratedTensor) -> Array:
    """Return the random numbers that a manifest describes, the same on every machine.

    Each element is made of 32 bits of SHAKE-128 (FIPS 202): `low + bits / 2**32 * (high - low)` in float64, cast to the
    datatype; of whole numbers, the floor of `low + bits / 2**32 * (high - low + 1)`. Every 65,536 elements are made of
    the seed and their number, so that no more than they is in memory beside the array.
    """
    made: Array = np.empty(tensor.shape, dtype=NUMPY_TYPES[tensor.datatype])
    flat = made.reshape(-1)
    for block, at in enumerate(range(0, len(flat), _BLOCK)):
        part = flat[at : at + _BLOCK]
        stream = hashlib.shake_128(f"golden {tensor.seed} {block}".encode()).digest(len(part) * _WORD_BYTES)
        share = np.frombuffer(stream, dtype="<u4") / _WORDS
        if made.dtype.kind == "b":
            part[:] = share >= 0.5  # noqa: PLR2004
        elif made.dtype.kind in "iu":
            part[:] = np.floor(tensor.low + share * (tensor.high - tensor.low + 1))
        else:
            part[:] = tensor.low + share * (tensor.high - tensor.low)
    return made


def golden_output(array: Array) -> TensorData | SampledTensor:
    """Return an output as a manifest states it: whole, or every so manyth element where it is large.

    Raises:
        KeyError: The array's type is none of the wire's.
    """
    if array.nbytes <= GOLDEN_BYTES or array.dtype.kind == "O":
        return to_tensor_data(array)
    step = -(-array.nbytes // GOLDEN_BYTES)
    part = to_tensor_data(array.reshape(-1)[::step])
    return SampledTensor(datatype=part.datatype, shape=array.shape, step=step, data=part.data)


def golden_part(array: Array, tensor: TensorData | SampledTensor) -> tuple[Array, Array]:
    """Return what a manifest states of an output, and the same part of an array of the same shape."""
    if isinstance(tensor, SampledTensor):
        return from_tensor_data(tensor.elements()), array.reshape(-1)[:: tensor.step]
    return from_tensor_data(tensor), array
