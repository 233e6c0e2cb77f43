"""How much smaller a model's weights are: those of its layers, with their scales and zeros, against float32."""

from typing import Any

from shoal_compression.model import Model

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def weight_bytes(model: Model) -> tuple[int, int]:
    """Return the bytes that the weights of an ONNX model's layers take, and that they took in float32.

    What two layers share counts once. Biases are no weights: they keep their size.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(model.content)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    opened = {node.output[0]: node for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    taken: dict[str, Any] = {}
    floats = 0
    for node in proto.graph.node:
        if node.op_type not in LAYERS:
            continue
        source = opened.get(node.input[1])
        names = [node.input[1]] if source is None else list(source.input)
        if names[0] not in held or held[names[0]].ndim < 2 or names[0] in taken:  # noqa: PLR2004 - a matrix
            continue
        taken |= {name: held[name].nbytes for name in names}
        floats += 4 * held[names[0]].size
    return sum(taken.values()), floats
