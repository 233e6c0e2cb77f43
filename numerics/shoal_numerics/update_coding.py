"""Federated updates to bytes: what training changed relative to the round's base, checked on both ends.

The float32 scheme is lossless, int8 takes a quarter of it before compression. Bytes come from devices, so
reading is bounded by the base's own size.

Header, little-endian: magic "SHU1", scheme, dtype (1 = float32), number of tensors, SHA-256 of the base; then
for each tensor the number of dimensions (8 bits) and the dimensions (32 bits each); in int8 one float32 scale
a tensor; then one zstd frame.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

import numpy as np

from shoal_numerics import compressed
from shoal_numerics.errors import CompressedDataError, UpdateError
from shoal_numerics.integer_difference import BLOCK_BYTES, apply_difference, difference_blocks
from shoal_numerics.quantized_difference import dequantize, quantize
from shoal_numerics.weights import (
    Tensor,
    check_shapes,
    check_weights,
    flatten,
    unflatten,
    weighted_mean,
    weights_sha256,
)

__all__ = ["Scheme", "decode_update", "encode_update", "weighted_mean", "weights_sha256"]

Scheme = Literal["float32", "int8"]

_MAGIC = b"SHU1"
_FIXED = struct.Struct("<4sBBH32s")
_SCHEMES: dict[Scheme, int] = {"float32": 1, "int8": 2}
_DTYPE_FLOAT32 = 1
_MAX_TENSORS = 0xFFFF
_SCALE_BYTES = 4


def encode_update(
    weights: Sequence[Tensor], base: Sequence[Tensor], scheme: Scheme, *, rounding_seed: int | None = None
) -> bytes:
    """Encode trained weights as their difference to the base.

    Args:
        weights: float32 tensors after training.
        base: float32 tensors before training, of the same shapes.
        scheme: "float32" keeps every bit; "int8" rounds each tensor's differences to 255 steps between plus
            and minus its largest one.
        rounding_seed: int8 only. With a seed rounding is stochastic and unbiased, so that errors of many
            devices cancel in the mean; without one each value is rounded to the nearest step.

    Raises:
        UpdateError: wrong dtype or shapes, NaN or infinite values or differences, unknown scheme.
    """
    doing = "Encoding an update"
    if scheme not in _SCHEMES:
        message = f"{doing}: unknown scheme {scheme!r}, expected one of {sorted(_SCHEMES)}."
        raise UpdateError(message)
    check_weights(weights, doing)
    check_weights(base, doing)
    check_shapes(weights, [tensor.shape for tensor in base], doing)
    if scheme == "float32":
        return _header(base, scheme) + compressed.compress(
            b"".join(difference_blocks(flatten(base), flatten(weights), 4))
        )
    scales, steps = quantize(weights, base, rounding_seed)
    return _header(base, scheme) + scales.tobytes() + compressed.compress(steps)


def decode_update(data: bytes, base: Sequence[Tensor], max_bytes: int) -> list[Tensor]:
    """Decode the weights of an update.

    Args:
        data: untrusted bytes of `encode_update`.
        base: the base of the round, float32 tensors.
        max_bytes: the most bytes that the update may have on the wire.

    Returns:
        The trained weights, float32 tensors of the base's shapes.

    Raises:
        UpdateError: malformed, too large, made from another base, or holding values that are not finite. Drop
            the update.
    """
    doing = "Decoding an update"
    if len(data) > max_bytes:
        message = f"{doing}: it has {len(data)} bytes, expected at most {max_bytes}. Drop it."
        raise UpdateError(message)
    scheme = _check_header(data, base)
    body = data[_FIXED.size + len(_shapes(base)) :]
    try:
        weights = _decode_float32(body, base) if scheme == "float32" else _decode_int8(body, base)
    except CompressedDataError as error:
        message = f"{doing}: {error}"
        raise UpdateError(message) from error
    check_weights(weights, doing)
    return weights


def _decode_float32(frame: bytes, base: Sequence[Tensor]) -> list[Tensor]:
    old = flatten(base)
    blocks = compressed.decompress_blocks(frame, len(old), BLOCK_BYTES)
    return unflatten(apply_difference(old, blocks, 4), [tensor.shape for tensor in base])


def _decode_int8(body: bytes, base: Sequence[Tensor]) -> list[Tensor]:
    scales_bytes = _SCALE_BYTES * len(base)
    if len(body) < scales_bytes:
        message = f"Decoding an update: it ends inside the scales, expected {scales_bytes} bytes of them."
        raise UpdateError(message)
    scales = np.frombuffer(body[:scales_bytes], dtype="<f4")
    steps = compressed.decompress_exactly(body[scales_bytes:], sum(tensor.size for tensor in base))
    return dequantize(scales, steps, base)


def _header(base: Sequence[Tensor], scheme: Scheme) -> bytes:
    if not 1 <= len(base) <= _MAX_TENSORS:
        message = f"Coding an update: found {len(base)} tensors, expected 1 to {_MAX_TENSORS}."
        raise UpdateError(message)
    fixed = (_MAGIC, _SCHEMES[scheme], _DTYPE_FLOAT32, len(base), bytes.fromhex(weights_sha256(base)))
    return _FIXED.pack(*fixed) + _shapes(base)


def _shapes(base: Sequence[Tensor]) -> bytes:
    return b"".join(struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape) for tensor in base)


def _check_header(data: bytes, base: Sequence[Tensor]) -> Scheme:
    """Check the header against the base and return the scheme."""
    doing = "Decoding an update"
    if len(data) < _FIXED.size:
        message = f"{doing}: found {len(data)} bytes, expected at least the header of {_FIXED.size}."
        raise UpdateError(message)
    magic, scheme_number, dtype, tensors, base_sha256 = _FIXED.unpack_from(data)
    schemes: dict[int, Scheme] = {number: name for name, number in _SCHEMES.items()}
    if magic != _MAGIC or scheme_number not in schemes or dtype != _DTYPE_FLOAT32:
        message = (
            f"{doing}: found magic {magic!r}, scheme {scheme_number}, dtype {dtype}; not an update of this format."
        )
        raise UpdateError(message)
    shapes = _shapes(base)
    if tensors != len(base) or data[_FIXED.size : _FIXED.size + len(shapes)] != shapes:
        message = (
            f"{doing}: its {tensors} tensors do not have the shapes of the base, "
            f"expected {[tensor.shape for tensor in base]}. Drop it."
        )
        raise UpdateError(message)
    expected_sha256 = weights_sha256(base)
    if base_sha256.hex() != expected_sha256:
        message = (
            f"{doing}: it was made from the base {base_sha256.hex()[:12]}…, expected {expected_sha256[:12]}…. "
            "It belongs to another round; drop it."
        )
        raise UpdateError(message)
    return schemes[scheme_number]
