"""QuantizeLinear and DequantizeLinear by PyTorch, with gradients that pass straight through the rounding."""

from typing import Final

import torch

from shoal_compression.errors import TechniqueError
from shoal_compression.trainable.calling import Call, operator

RANGES: Final[dict[torch.dtype, tuple[int, int]]] = {
    torch.int8: (-128, 127),
    torch.uint8: (0, 255),
    torch.int16: (-32_768, 32_767),
    torch.int32: (-(2**31), 2**31 - 1),
}


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Round half to even; the gradient is that of x (Bengio, Léonard and Courville 2013, arXiv 1308.3432)."""
    return x + (torch.round(x) - x).detach()


def _along(values: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
    if values.numel() == 1:
        return values.reshape(())
    sizes = [1] * x.ndim
    sizes[axis] = -1
    return values.reshape(sizes)


@operator("QuantizeLinear")
def quantize_linear(call: Call) -> torch.Tensor:
    """Return whole numbers in float32, so that gradients pass."""
    x, scale, zero = call.take(0), call.take(1), call.maybe(2)
    if scale.ndim > 1:
        raise TechniqueError(f"running the node {call.name}: scales by blocks found; train before the int4 step")
    axis = call.integer("axis", 1)
    low, high = RANGES[torch.uint8 if zero is None else zero.dtype]
    shift = 0.0 if zero is None else _along(zero, x, axis).to(x)
    return torch.clamp(rounded(x / _along(scale, x, axis)) + shift, low, high)


@operator("DequantizeLinear")
def dequantize_linear(call: Call) -> torch.Tensor:
    """Return (x - zero point) * scale."""
    x, scale, zero = call.take(0), call.take(1), call.maybe(2)
    if scale.ndim > 1:
        raise TechniqueError(f"running the node {call.name}: scales by blocks found; train before the int4 step")
    axis = call.integer("axis", 1)
    values = x.to(scale.dtype)
    return (values if zero is None else values - _along(zero, x, axis).to(values)) * _along(scale, x, axis)
