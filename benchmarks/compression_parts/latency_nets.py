"""Networks of random weights in several widths and precisions: latency depends on shapes, not on what was learnt.

A width stands for structured pruning; `static` and `dynamic` are ONNX Runtime's int8.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_contract.manifest import TensorSpec

WIDTHS: Final = (1.0, 0.75, 0.5, 0.3)
PRECISIONS: Final = ("float32", "dynamic", "static")
RECIPES: Final = tuple((width, precision) for width in WIDTHS for precision in PRECISIONS)
SHAPES: Final = {"cnn": (1, 28, 28), "mobilenet": (3, 48, 48), "one_d": (6, 100), "mixer": (49, 64)}


class Net:
    """Builds a graph, layer by layer."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape, self.random = shape, np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last, self.channels = "x", shape[0]

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> None:  # noqa: ANN401 - ONNX's
        """Add a node; its output is what comes next."""
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.last = name

    def weight(self, *shape: int) -> str:
        """Add a weight and return its name."""
        values = self.random.normal(size=shape) / math.sqrt(max(1, math.prod(shape[1:])))
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def convolve(self, channels: int, size: int, stride: int = 1, groups: int = 1) -> None:
        """Add a convolution with bias and a ReLU."""
        places = len(self.shape) - 1
        weight = self.weight(channels, self.channels // groups, *[size] * places)
        inputs = [self.last, weight, self.weight(channels)]
        pads, strides = [size // 2] * 2 * places, [stride] * places
        self.node("Conv", inputs, group=groups, pads=pads, strides=strides, kernel_shape=[size] * places)
        self.node("Relu", [self.last])
        self.channels = channels

    def dense(self, size_in: int, size_out: int, *, relu: bool = True) -> None:
        """Add a dense layer."""
        self.node("Gemm", [self.last, self.weight(size_in, size_out), self.weight(size_out)])
        if relu:
            self.node("Relu", [self.last])

    def multiply(self, size_in: int, size_out: int) -> None:
        """Add a product with a weight, without a bias."""
        self.node("MatMul", [self.last, self.weight(size_in, size_out)])

    def finish(self) -> Model:
        """Return the network."""
        self.node("Softmax", [self.last], axis=-1)
        shape: list[str | int | None] = ["batch", *self.shape]
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, ["batch", 10])],
            self.weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(made)
        inputs = (TensorSpec(name="x", datatype="FP32", shape=(-1, *self.shape)),)
        outputs = (TensorSpec(name=self.last, datatype="FP32", shape=(-1, 10)),)
        return Model("onnx", made.SerializeToString(), inputs, outputs)


def build(kind: str, width: float) -> Model:
    """Return a network of a kind, its channels multiplied by a width."""
    net = Net(SHAPES[kind], seed=7)
    {"cnn": _cnn, "mobilenet": _mobilenet, "one_d": _one_d, "mixer": _mixer}[kind](net, width)
    return net.finish()


def _at(channels: int, width: float) -> int:
    return max(4, int(channels * width) // 4 * 4)


def _pooled(net: Net) -> None:
    net.node("GlobalAveragePool", [net.last])
    net.node("Flatten", [net.last])
    net.dense(net.channels, 10, relu=False)


def _cnn(net: Net, width: float) -> None:
    for channels, stride in ((32, 1), (64, 2), (64, 1), (128, 2)):
        net.convolve(_at(channels, width), 3, stride)
    _pooled(net)


def _mobilenet(net: Net, width: float) -> None:
    net.convolve(_at(16, width), 3, 2)
    for channels, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2)):
        net.convolve(net.channels, 3, stride, groups=net.channels)
        net.convolve(_at(channels, width), 1)
    _pooled(net)


def _one_d(net: Net, width: float) -> None:
    for channels, size, stride in ((32, 7, 1), (64, 5, 2), (96, 5, 2), (128, 3, 1)):
        net.convolve(_at(channels, width), size, stride)
    _pooled(net)


def _mixer(net: Net, width: float) -> None:
    size = net.shape[1]
    for _ in range(4):
        inner = _at(256, width)
        net.multiply(size, inner)
        net.node("Relu", [net.last])
        net.multiply(inner, size)
    net.node("ReduceMean", [net.last], axes=[1], keepdims=0)
    net.dense(size, 10, relu=False)


def samples_of(kind: str) -> Samples:
    """Return samples for a network of a kind."""
    values: NDArray[np.float32] = np.random.default_rng(3).normal(size=(16, *SHAPES[kind])).astype(np.float32)
    return Samples({"x": values})


def in_precision(model: Model, samples: Samples, precision: str) -> Model:
    """Return a network in a precision."""
    if precision == "float32":
        return model
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(model.content)
        if precision == "dynamic":
            quantize_dynamic(before, after, weight_type=QuantType.QUInt8)
        else:
            quantize_static(
                before,
                after,
                _Reader(samples, model),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        return model.with_content(after.read_bytes(), precision="int8")


class _Reader:
    """Gives the samples to ONNX Runtime's calibration, one at a time."""

    def __init__(self, samples: Samples, model: Model) -> None:
        self._feeds: Iterator[dict[str, Any]] = samples.feeds(model)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)
