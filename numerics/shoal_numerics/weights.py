"""Model weights as a list of float32 tensors: checks, one flat form, one canonical hash, weighted mean."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from shoal_numerics.errors import UpdateError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensor: TypeAlias = "NDArray[np.float32]"
Shape = tuple[int, ...]


def check_weights(weights: Sequence[Tensor], doing: str) -> None:
    """Raise UpdateError unless every tensor is a float32 array of finite values."""
    for position, tensor in enumerate(weights):
        found = getattr(tensor, "dtype", type(tensor).__name__)
        if found != np.float32:
            message = f"{doing}: tensor {position} is {found}, expected a float32 array."
            raise UpdateError(message)
        if not np.isfinite(tensor).all():
            message = (
                f"{doing}: tensor {position} holds NaN or infinite values, expected finite ones. "
                "Training has diverged; drop this update."
            )
            raise UpdateError(message)


def check_shapes(weights: Sequence[Tensor], shapes: Sequence[Shape], doing: str) -> None:
    """Raise UpdateError unless the tensors have exactly these shapes."""
    found = [tensor.shape for tensor in weights]
    if found != list(shapes):
        message = f"{doing}: found tensors of shapes {found}, expected {list(shapes)} as in the base."
        raise UpdateError(message)


def flatten(weights: Sequence[Tensor]) -> bytes:
    """Return all values one after another, each tensor in C order, as little-endian float32."""
    return b"".join(np.ascontiguousarray(tensor, dtype="<f4").tobytes() for tensor in weights)


def unflatten(data: bytes, shapes: Sequence[Shape]) -> list[Tensor]:
    """Return writable tensors of these shapes from the bytes of `flatten`."""
    flat = np.frombuffer(data, dtype="<f4").astype(np.float32)
    ends = np.cumsum([math.prod(shape) for shape in shapes], dtype=np.int64)
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def weights_sha256(weights: Sequence[Tensor]) -> str:
    """Return the canonical hash of weights.

    SHA-256 over the tag "shoal-weights-1" and a zero byte, the number of tensors, then for each tensor the
    number of its dimensions, each dimension (all as 64-bit little-endian integers) and its values in C order
    as little-endian float32.

    Args:
        weights: float32 arrays.

    Returns:
        64 hexadecimal digits.

    Raises:
        UpdateError: a tensor that is not float32 or not finite.
    """
    check_weights(weights, "Hashing weights")
    digest = hashlib.sha256(b"shoal-weights-1\0")
    digest.update(len(weights).to_bytes(8, "little"))
    for tensor in weights:
        digest.update(np.array([tensor.ndim, *tensor.shape], dtype="<u8").tobytes())
        digest.update(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
    return digest.hexdigest()


def weighted_mean(updates: Iterable[Sequence[Tensor]], weights: Iterable[float]) -> list[Tensor]:
    """Average updates tensor by tensor, as FedAvg does (McMahan et al., AISTATS 2017).

    Updates are taken one at a time and summed in float64, so a generator of them needs the memory of one
    update and one sum.

    Args:
        updates: lists of float32 tensors, all of the same shapes.
        weights: one finite number of at least 0 for each update (numbers of examples), not all 0.

    Returns:
        The mean, float32.

    Raises:
        UpdateError: no updates, another number of weights, a bad weight, shapes that differ, or values that
            are not finite.
    """
    doing = "Averaging updates"
    sums: list[NDArray[np.float64]] = []
    shapes: list[Shape] | None = None
    total = 0.0
    for update, weight in _pairs(updates, weights, doing):
        check_weights(update, doing)
        if shapes is None:
            shapes = [tensor.shape for tensor in update]
            sums = [np.zeros(shape, dtype=np.float64) for shape in shapes]
        check_shapes(update, shapes, doing)
        for partial, tensor in zip(sums, update, strict=True):
            np.add(partial, tensor.astype(np.float64) * weight, out=partial)
        total += weight
    if total <= 0:
        message = f"{doing}: the weights sum to {total}, expected at least one update with a weight above 0."
        raise UpdateError(message)
    return [(partial / total).astype(np.float32) for partial in sums]


def _pairs(
    updates: Iterable[Sequence[Tensor]], weights: Iterable[float], doing: str
) -> Iterable[tuple[Sequence[Tensor], float]]:
    """Pair updates with checked weights."""
    remaining = iter(weights)
    for update in updates:
        weight = next(remaining, None)
        if weight is None or not math.isfinite(weight) or weight < 0:
            message = f"{doing}: found the weight {weight}, expected a finite number of at least 0 for each update."
            raise UpdateError(message)
        yield update, float(weight)
    if next(remaining, None) is not None:
        message = f"{doing}: there are more weights than updates."
        raise UpdateError(message)
