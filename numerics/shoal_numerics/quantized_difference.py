"""Differences of tensors in 255 steps a tensor: symmetric int8 with one float32 scale (QSGD-like).

Stochastic rounding is unbiased (Alistarh et al., QSGD, NeurIPS 2017), so that a mean over many devices
converges to the mean of the unrounded differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import UpdateError
from shoal_numerics.weights import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 127
_LARGEST = (2.0 - 2.0**-23) * 2.0**127  # of float32


def quantize(
    weights: Sequence[Tensor], base: Sequence[Tensor], rounding_seed: int | None
) -> tuple[NDArray[np.float32], bytes]:
    """Return the scales, (tensors,) float32, and the steps of all tensors as int8 bytes in C order.

    Raises:
        UpdateError: a difference beyond the range of float32.
    """
    generator = None if rounding_seed is None else np.random.default_rng(rounding_seed)
    scales: list[np.float32] = []
    steps: list[bytes] = []
    for position, (tensor, old) in enumerate(zip(weights, base, strict=True)):
        change = tensor.astype(np.float64) - old
        largest = float(np.abs(change).max(initial=0.0))
        if largest > _LARGEST:
            message = f"Encoding an update: tensor {position} moved by {largest:g}, beyond float32. Drop this update."
            raise UpdateError(message)
        scale = np.float32(largest / _STEPS)
        scales.append(scale)
        steps.append(_round(change, scale, generator).tobytes())
    return np.array(scales, dtype="<f4"), b"".join(steps)


def dequantize(scales: NDArray[np.float32], steps: bytes, base: Sequence[Tensor]) -> list[Tensor]:
    """Return base + scale x step for every tensor, float32.

    Raises:
        UpdateError: a scale that is negative or not finite, or a result beyond the range of float32.
    """
    if not (np.isfinite(scales).all() and (scales >= 0).all()):
        message = "Decoding an update: a scale is negative or not finite. Drop it."
        raise UpdateError(message)
    flat = np.frombuffer(steps, dtype=np.int8)
    weights: list[Tensor] = []
    start = 0
    for scale, old in zip(scales, base, strict=True):
        change = flat[start : start + old.size].reshape(old.shape) * np.float64(scale)
        start += old.size
        value = np.asarray(old + change)
        if np.abs(value).max(initial=0.0) > _LARGEST:
            message = "Decoding an update: a value leaves the range of float32. Drop it."
            raise UpdateError(message)
        weights.append(value.astype(np.float32))
    return weights


# The generator is no more than an annotation: numpy.random is 2 MB that a device which only serves need not hold.
def _round(change: NDArray[np.float64], scale: np.float32, generator: np.random.Generator | None) -> NDArray[np.int8]:
    """Divide by the scale and round, to the nearest step or, with a generator, up or down by chance."""
    if scale == 0:
        return np.zeros(change.shape, dtype=np.int8)
    exact = change / np.float64(scale)
    rounded = np.rint(exact) if generator is None else np.floor(exact + generator.random(change.shape))
    steps: NDArray[np.int8] = np.clip(rounded, -_STEPS, _STEPS).astype(np.int8)
    return steps
