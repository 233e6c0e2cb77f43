"""Writes quantized graphs, with QuantizeLinear and DequantizeLinear around values, and reads their weights."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from shoal_compression.quieting import quiet
from shoal_compression.techniques.quantize.preparing import WEIGHTED, constants, weighted_nodes
from shoal_compression.techniques.quantize.ranges import Range
from shoal_numerics.tensors import Array

# ruff: noqa: ANN401 - messages of ONNX

Types = Literal["u8u8", "u8s8", "s8s8"]
"""Of activations and weights. On x86 without VNNI signed weights need `reduce_range`, or sums of products saturate."""
Granularity = Literal["per-channel", "per-tensor", "convolutions", "where-needed"]
"""Whether weights have a scale for each output channel: those of `convolutions`, or those `where-needed`, to which one
scale for all would add `NEEDED_DB` of noise."""
NEEDED_DB: Final = 4.0
"""Two thirds of a bit. A scale takes as much as four weights, which a small layer feels."""
OPERATORS: Final = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gemm", "GlobalAveragePool", "MatMul",
    "MaxPool", "Pad", "Relu", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Others (softmax, normalisation, activations other than ReLU) lose more in 8 bits than they gain."""
FLOAT_OUTPUT: Final = ("Gemm", "MatMul")
"""Their sums stay in float32: what follows is added to, normalised, or compared."""


@dataclass(frozen=True)
class Scheme:
    """How values are kept in 8 bits."""

    types: Types = "u8u8"
    reduce_range: bool = False
    granularity: Granularity = "per-channel"


@dataclass(frozen=True)
class Bias:
    """A bias as it stands in a graph: whole numbers of steps of the input's scale times the weight's."""

    name: str
    scale: Array


@dataclass(frozen=True)
class Weight:
    """A quantized weight as it stands in a graph: `scale * (values - zero)` along `axis`."""

    node: str
    name: str
    values: Array
    scale: Array
    zero: Array
    axis: int
    bias: Bias | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape by which scale and zero are spread over the values."""
        return tuple(-1 if axis == self.axis else 1 for axis in range(self.values.ndim))

    def spread(self, array: Array) -> Array:
        """Return scale or zero, (channels,) or one number, in a shape that goes with the values: `shape`, or ()."""
        return array.reshape(self.shape) if array.size > 1 else array.reshape(())


def write_qdq(proto: Any, ranges: Mapping[str, Range], scheme: Scheme, float_nodes: Collection[str] = ()) -> Any:
    """Return a graph with all quantizable nodes but these in 8 bits."""
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    seen = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    signed, unsigned = QuantType.QInt8, QuantType.QUInt8
    options = {
        "WeightSymmetric": True,  # one zero for all channels, which the runtime's integer convolutions ask for
        "OpTypesToExcludeOutputQuantization": list(FLOAT_OUTPUT),
        "TensorQuantOverrides": _overrides(proto, scheme),
    }
    with quiet():
        quantizer = QDQQuantizer(
            copy,
            scheme.granularity != "per-tensor",
            scheme.reduce_range,
            unsigned if scheme.types == "u8u8" else signed,
            signed if scheme.types == "s8s8" else unsigned,
            TensorsData(CalibrationMethod.MinMax, seen),
            chosen_nodes(proto, float_nodes),
            [],
            list(OPERATORS),
            options,
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made = quantizer.model.model
    _share_equals(made)
    return made


def chosen_nodes(proto: Any, float_nodes: Collection[str] = ()) -> list[str]:
    """Return the names of the nodes to quantize: those with weights, and what a convolution's 8 bits go on through.

    A sum or a mean elsewhere is a residual stream or a part of a normalisation, where 8 bits lose much.
    """
    held = constants(proto)
    whole: list[str] = []
    in_8_bits: set[str] = set()
    for node in proto.graph.node:
        if node.op_type not in OPERATORS or node.name in float_nodes:
            continue
        if node.op_type in WEIGHTED:
            is_chosen = any(name in held for name in node.input)
        else:
            is_chosen = any(name in in_8_bits for name in node.input)
        if node.op_type == "Add":
            is_chosen &= all(name not in held for name in node.input)
        if is_chosen:
            whole.append(node.name)
            in_8_bits.update(() if node.op_type in FLOAT_OUTPUT else node.output)
    return whole or ["nothing"]


def _overrides(proto: Any, scheme: Scheme) -> dict[str, list[dict[str, Any]]]:
    """Return which weights have one scale for all channels, as ONNX Runtime's quantizer is told."""
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantType

    kind = QuantType.QUInt8 if scheme.types == "u8u8" else QuantType.QInt8
    held, nodes = constants(proto), weighted_nodes(proto)
    if scheme.granularity == "convolutions":
        whole = [node.input[1] for node in nodes if node.op_type in FLOAT_OUTPUT]
    elif scheme.granularity == "where-needed":
        weights = {node.input[1]: (numpy_helper.to_array(held[node.input[1]]), _channel_axis(node)) for node in nodes}
        whole = [name for name, (weight, axis) in weights.items() if added_noise_db(weight, axis) <= NEEDED_DB]
    else:
        whole = []
    return {name: [{"quant_type": kind}] for name in whole}


def _channel_axis(node: Any) -> int:
    """Return the axis of a weight's output channels."""
    if node.op_type == "Gemm":
        return 0 if any(part.name == "transB" and part.i for part in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type, -1)


def added_noise_db(weight: Array, axis: int) -> float:
    """Return by how many dB one scale for all channels of a weight is noisier than a scale for each.

    Args:
        weight: (...) float32 of any rank.
        axis: That of the channels.
    """
    others = tuple(one for one in range(weight.ndim) if one != axis % weight.ndim)
    noise = []
    for largest in (np.abs(weight).max(), np.abs(weight).max(axis=others, keepdims=True)):
        step = np.maximum(largest, 1e-30) / 127.5
        noise.append(float(np.square(np.round(weight / step) * step - weight).sum()))
    return float(10 * np.log10(max(noise[0], 1e-30) / max(noise[1], 1e-30)))


def _share_equals(proto: Any) -> None:
    """Keep one of scales and zero points that are the same, such as the zeros of channels.

    Weights and biases stay apart: what corrects one of them must not change another, nor a zero point.
    """
    kept: dict[tuple[Any, ...], str] = {}
    renamed: dict[str, str] = {}
    places: dict[str, set[tuple[str, bool]]] = {}
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            places.setdefault(name, set()).add((node.op_type, place > 0))
    parameters = {(kind, True) for kind in ("QuantizeLinear", "DequantizeLinear")}
    for tensor in list(proto.graph.initializer):
        if not places.get(tensor.name, {("", False)}) <= parameters:
            continue
        content = (tensor.data_type, *tensor.dims, tensor.raw_data, *tensor.int32_data, *tensor.float_data)
        name = kept.setdefault(content, tensor.name)
        if name != tensor.name:
            renamed[tensor.name] = name
            proto.graph.initializer.remove(tensor)
    for node in proto.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def weights_of(proto: Any) -> list[Weight]:
    """Return the quantized weights of a graph that was written here, in the order of their nodes."""
    from onnx import numpy_helper

    held = {name: numpy_helper.to_array(tensor) for name, tensor in constants(proto).items()}
    opened = {node.output[0]: node for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in proto.graph.node:
        source = opened.get(node.input[1]) if len(node.input) > 1 else None
        if source is None or source.input[0] not in held or node.op_type == "Add":
            continue
        bias = opened.get(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004 - weight, then bias
        axis = next((part.i for part in source.attribute if part.name == "axis"), 1)
        values, scale, zero = (held[name] for name in source.input)
        kept = None if bias is None or bias.input[0] not in held else Bias(bias.input[0], held[bias.input[1]])
        found.append(Weight(node.name, source.input[0], values, scale, zero, axis % values.ndim, kept))
    return found


def replace_constant(proto: Any, name: str, values: Array) -> None:
    """Change a weight in place; values of any shape and datatype, which is the weight's from then on."""
    from onnx import numpy_helper

    constants(proto)[name].CopyFrom(numpy_helper.from_array(values, name))
