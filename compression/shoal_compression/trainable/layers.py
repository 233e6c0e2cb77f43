"""Operators with weights, pools and normalizations, by PyTorch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from shoal_compression.trainable.calling import Call, operator


def _pads(call: Call, sizes: list[int], kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Return the pads as ONNX orders them: all beginnings, then all ends."""
    auto = call.text("auto_pad", "NOTSET")
    if auto not in {"SAME_UPPER", "SAME_LOWER"}:
        return call.integers("pads", [0] * 2 * len(kernel)) if auto == "NOTSET" else [0] * 2 * len(kernel)
    begins, ends = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        whole = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        small, large = whole // 2, whole - whole // 2
        begins.append(small if auto == "SAME_UPPER" else large)
        ends.append(large if auto == "SAME_UPPER" else small)
    return begins + ends


def pad(x: torch.Tensor, pads: list[int], value: float = 0.0, mode: str = "constant") -> torch.Tensor:
    """Return x padded in its last axes, pads ordered as ONNX does."""
    half = len(pads) // 2
    turned = [one for axis in reversed(range(half)) for one in (pads[axis], pads[axis + half])]
    if not any(turned):
        return x
    return F.pad(x, turned, mode, value) if mode == "constant" else F.pad(x, turned, mode)


def _even(pads: list[int]) -> bool:
    half = len(pads) // 2
    return pads[:half] == pads[half:]


@operator("Conv")
def conv(call: Call) -> torch.Tensor:
    """Run a convolution of one to three axes."""
    x, weight, bias = call.take(0), call.take(1), call.maybe(2)
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    strides, dilations = call.integers("strides", ones), call.integers("dilations", ones)
    pads = _pads(call, list(x.shape[2:]), kernel, strides, dilations)
    half = pads[: len(kernel)]
    if not _even(pads):
        x, half = pad(x, pads), [0] * len(kernel)
    function: Callable[..., torch.Tensor] = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
    return function(x, weight, bias, strides, half, dilations, call.integer("group", 1))


@operator("ConvTranspose")
def conv_transpose(call: Call) -> torch.Tensor:
    """Run a transposed convolution with pads that are given."""
    x, weight, bias = call.take(0), call.take(1), call.maybe(2)
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    strides, dilations = call.integers("strides", ones), call.integers("dilations", ones)
    more = call.integers("output_padding", [0] * len(kernel))
    function: Callable[..., torch.Tensor] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[
        len(kernel) - 1
    ]
    whole = function(x, weight, None, strides, 0, more, call.integer("group", 1), dilations)
    pads = call.integers("pads", [0] * 2 * len(kernel))
    for axis, (begin, end) in enumerate(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True), start=2):
        whole = whole.narrow(axis, begin, whole.shape[axis] - begin - end)
    return whole if bias is None else whole + bias.reshape(-1, *ones)


@operator("Gemm")
def gemm(call: Call) -> torch.Tensor:
    """Return alpha * A B + beta * C."""
    a, b, c = call.take(0), call.take(1), call.maybe(2)
    a = a.T if call.integer("transA", 0) else a
    b = b.T if call.integer("transB", 0) else b
    product = call.number("alpha", 1.0) * (a @ b)
    return product if c is None else product + call.number("beta", 1.0) * c


@operator("MatMul")
def matmul(call: Call) -> torch.Tensor:
    """Return A B over the last two axes."""
    return call.take(0) @ call.take(1)


@operator("BatchNormalization")
def batch_normalization(call: Call) -> torch.Tensor:
    """Normalize by the statistics that the graph holds: they stay as they are, scale and shift are trained."""
    x, scale, shift, mean, variance = (call.take(place) for place in range(5))
    return F.batch_norm(x, mean, variance, scale, shift, training=False, eps=call.number("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_normalization(call: Call) -> torch.Tensor:
    """Normalize the axes from `axis` on."""
    x = call.take(0)
    shape = list(x.shape[call.integer("axis", -1) % x.ndim :])
    made = F.layer_norm(x, shape, eps=call.number("epsilon", 1e-5)) * call.take(1)
    shift = call.maybe(2)
    return made if shift is None else made + shift


@operator("InstanceNormalization")
def instance_normalization(call: Call) -> torch.Tensor:
    """Normalize each channel of each sample."""
    return F.instance_norm(call.take(0), weight=call.take(1), bias=call.take(2), eps=call.number("epsilon", 1e-5))


@operator("GlobalAveragePool")
def global_average_pool(call: Call) -> torch.Tensor:
    """Return the mean over all axes but samples and channels."""
    x = call.take(0)
    return x.mean(dim=list(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(call: Call) -> torch.Tensor:
    """Return the largest over all axes but samples and channels."""
    x = call.take(0)
    return x.amax(dim=list(range(2, x.ndim)), keepdim=True)


def _window(call: Call, x: torch.Tensor) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return kernel, strides, dilations and pads; with `ceil_mode` the ends reach as far as the last window does."""
    kernel = call.integers("kernel_shape", [])
    ones = [1] * len(kernel)
    strides, dilations = call.integers("strides", ones), call.integers("dilations", ones)
    return kernel, strides, dilations, _pads(call, list(x.shape[2:]), kernel, strides, dilations)


def _ceiled(x: torch.Tensor, pads: list[int], kernel: list[int], strides: list[int]) -> list[int]:
    half = len(kernel)
    ends = []
    for axis, (k, stride) in enumerate(zip(kernel, strides, strict=True)):
        begin, end = pads[axis], pads[axis + half]
        size = x.shape[2 + axis]
        count = -(-(size + begin + end - k) // stride) + 1
        if (count - 1) * stride >= size + begin:  # the last window would begin behind the samples
            count -= 1
        ends.append(max(end, (count - 1) * stride + k - size - begin))
    return pads[:half] + ends


@operator("MaxPool")
def max_pool(call: Call) -> torch.Tensor:
    """Return the largest of each window."""
    x = call.take(0)
    kernel, strides, dilations, pads = _window(call, x)
    if call.integer("ceil_mode", 0):
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = _ceiled(x, pads, reach, strides)
    x = pad(x, pads, float("-inf"))
    function: Callable[..., torch.Tensor] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    return function(x, kernel, strides, 0, dilations)


@operator("AveragePool")
def average_pool(call: Call) -> torch.Tensor:
    """Return the mean of each window, of its padding too where `count_include_pad` says so."""
    x = call.take(0)
    kernel, strides, _, pads = _window(call, x)
    padded = pads
    if call.integer("ceil_mode", 0):
        padded = _ceiled(x, pads, kernel, strides)
    function: Callable[..., torch.Tensor] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    sums = function(pad(x, padded), kernel, strides)
    if not any(padded):
        return sums
    ones = torch.ones_like(x[:1, :1])
    if call.integer("count_include_pad", 0):
        over = [after - before for before, after in zip(pads, padded, strict=True)]
        counted = pad(pad(ones, pads, 1.0), over)
    else:
        counted = pad(ones, padded)
    return sums / function(counted, kernel, strides)
