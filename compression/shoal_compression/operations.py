"""What a file holds and does: bytes of weights, and multiplications with addition (MACs) of one sample."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.model import SIGNATURE, Model

_PRODUCTS: Final = frozenset(
    {"MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "MatMulNBits", "FusedMatMul", "DynamicQuantizeMatMul"}
)
_CONVOLUTIONS: Final = frozenset({"Conv", "QLinearConv", "ConvInteger", "FusedConv"})
_LITE_PRODUCTS: Final = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"})
_LITE_CONVOLUTIONS: Final = frozenset({"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D"})


class Contents(NamedTuple):
    """Of a file."""

    weights_bytes: int | None
    """Weights with their scales and zero points; None: of a form that is not looked into."""
    macs: int | None
    """None: as above, or an operator's shapes are not known before it runs."""


def contents(model: Model, samples: Samples) -> Contents:
    """Return what a file holds, with the shapes that one of the samples has."""
    if model.form == "onnx":
        return _onnx(model, samples)
    return _tflite(model) if model.form == "tflite" else Contents(None, None)


def _onnx(model: Model, samples: Samples) -> Contents:
    import onnx

    proto = onnx.load_from_string(model.content)
    weights = sum(_tensor_bytes(tensor) for tensor in _constants(proto.graph))
    for given in proto.graph.input:
        if given.name in samples.inputs:
            sizes = samples.inputs[given.name].shape[1:]
            _set_shape(given, (1, *sizes) if model.is_batched else sizes)
    for made in proto.graph.output:
        made.type.tensor_type.ClearField("shape")  # an open batch there would hide what is inferred
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {one.name: _shape(one) for one in (*inferred.value_info, *inferred.input, *inferred.output)}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    counts = [_onnx_macs(node, shapes) for node in inferred.node]
    return Contents(weights, None if None in counts else sum(count or 0 for count in counts))


def _constants(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - messages of ONNX
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _constants(attribute.g)


def _tensor_bytes(tensor: Any) -> int:  # noqa: ANN401 - as above
    from onnx import TensorProto, helper

    bits = {TensorProto.INT4: 4, TensorProto.UINT4: 4}.get(tensor.data_type)
    if bits is None:
        bits = 8 * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    elements: int = math.prod(tensor.dims)
    return math.ceil(elements * bits / 8)


def _set_shape(given: Any, sizes: Sequence[int]) -> None:  # noqa: ANN401 - as above
    shape = given.type.tensor_type.shape
    shape.ClearField("dim")
    for size in sizes:
        shape.dim.add().dim_value = int(size)


def _shape(info: Any) -> tuple[int, ...] | None:  # noqa: ANN401 - as above
    kind = info.type.tensor_type
    if not kind.HasField("shape") or any(not one.HasField("dim_value") for one in kind.shape.dim):
        return None
    return tuple(one.dim_value for one in kind.shape.dim)


def _onnx_macs(node: Any, shapes: dict[str, tuple[int, ...] | None]) -> int | None:  # noqa: ANN401 - as above
    """Return the MACs of a node; 0 of one without products, None where shapes are missing."""
    name = node.op_type
    if name not in _PRODUCTS | _CONVOLUTIONS | {"ConvTranspose"}:
        return 0
    weight_place = 3 if name.startswith("QLinear") else 1
    made, left = shapes.get(node.output[0]), shapes.get(node.input[0])
    weight = shapes.get(node.input[weight_place])
    if made is None or left is None or weight is None:
        return None
    if name in _CONVOLUTIONS:
        return math.prod(made) * math.prod(weight[1:])
    if name == "ConvTranspose":
        return math.prod(left) * math.prod(weight[1:])
    is_turned = any(one.name == "transA" and one.i for one in node.attribute)
    return math.prod(made) * (left[0] if is_turned else left[-1])


def _tflite(model: Model) -> Contents:
    return Contents(_tflite_weights(model.content), _tflite_macs(model))


def _tflite_weights(content: bytes) -> int:
    """Return the bytes of all constant tensors and of the scales of all that are quantized."""
    from ai_edge_litert import schema_py_generated as schema

    file = schema.Model.GetRootAs(content, 0)
    total = 0
    for graph in (file.Subgraphs(index) for index in range(file.SubgraphsLength())):
        for tensor in (graph.Tensors(index) for index in range(graph.TensorsLength())):
            stored = file.Buffers(tensor.Buffer())
            if stored is None or stored.DataLength() == 0:
                continue
            scales = tensor.Quantization()
            total += stored.DataLength()
            total += 0 if scales is None else 4 * scales.ScaleLength() + 8 * scales.ZeroPointLength()
    return total


def _tflite_macs(model: Model) -> int:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model.content,
        num_threads=1,
        # With a delegate there would be one operator for all.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.get_signature_runner(SIGNATURE)
    interpreter.allocate_tensors()
    shapes = {one["index"]: tuple(map(int, one["shape"])) for one in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()  # noqa: SLF001 - there is no public way to the operators
    return sum(_lite_macs(one, shapes) for one in operators)


def _lite_macs(operator: Any, shapes: dict[int, tuple[int, ...]]) -> int:  # noqa: ANN401 - the interpreter's dict
    name = operator["op_name"]
    if name not in _LITE_PRODUCTS | _LITE_CONVOLUTIONS | {"TRANSPOSE_CONV"}:
        return 0
    places = [int(place) for place in np.asarray(operator["inputs"])]
    made = math.prod(shapes[int(operator["outputs"][0])])
    weight = shapes[places[1]]
    if name in _LITE_PRODUCTS:
        return made * shapes[places[0]][-1] if name == "BATCH_MATMUL" else made * weight[-1]
    if name == "DEPTHWISE_CONV_2D":
        return made * math.prod(weight[1:-1])
    if name == "TRANSPOSE_CONV":  # the shape, the weights (out, height, width, in), then what is convolved
        return math.prod(shapes[places[2]]) * math.prod(weight[:-1])
    return made * math.prod(weight[:-1] if name == "CONV_3D" else weight[1:])
