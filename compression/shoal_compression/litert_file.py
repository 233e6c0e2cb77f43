"""Reads `.tflite` files as what they are, flatbuffers: their signature, the types of their tensors, their weights."""

from typing import Any

import numpy as np

from shoal_compression.errors import SourceError
from shoal_compression.model import SIGNATURE, Model

DOING = "reading a LiteRT model"


def check_litert(content: bytes) -> None:
    """See that a file is one of LiteRT, and that its weights are finite.

    Raises:
        SourceError: It is none, or a weight is NaN or infinite.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    opened = open_litert(content)
    for graph in opened.subgraphs:
        for tensor in graph.tensors:
            data = opened.buffers[tensor.buffer].data
            if tensor.type != flatbuffer_utils.TensorType.FLOAT32 or data is None or len(data) == 0:
                continue
            values = np.frombuffer(bytes(data), np.float32)
            if not np.isfinite(values).all():
                name, places = tensor.name.decode(), int((~np.isfinite(values)).sum())
                found = f"the weight {name} has nan or infinity in {places} places"
                raise SourceError(f"{DOING}: {found}; train the model again, with a lower learning rate")


def check_quantizable(model: Model) -> None:
    """See that a file can be quantized: float32 so far, of known sizes, with the signature that ranges are read by.

    Raises:
        SourceError: It can not.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    check_sizes(model)
    opened = open_litert(model.content)
    signatures = [one.signatureKey.decode() for one in opened.signatureDefs or []]
    if SIGNATURE not in signatures:
        found = f"signatures {signatures} found, expected {SIGNATURE}"
        raise SourceError(f"{DOING}: {found}; convert the model again with to-litert, which writes it")
    kinds = flatbuffer_utils.TensorType
    small = {kinds.INT2, kinds.INT4, kinds.INT8, kinds.INT16, kinds.FLOAT16}
    for graph in opened.subgraphs:
        for tensor in graph.tensors:
            is_scaled = tensor.quantization is not None and tensor.quantization.scale is not None
            if tensor.type == kinds.FLOAT16 or (tensor.type in small and is_scaled and len(tensor.quantization.scale)):
                found = f"{tensor.name.decode()} is quantized already"
                raise SourceError(f"{DOING}: {found}; start from the float32 file, which to-litert writes")


def check_sizes(model: Model) -> None:
    """See that every input has known sizes but for the batch: LiteRT plans its memory by them.

    Raises:
        SourceError: One has not.
    """
    for spec in model.inputs:
        opened = [axis for axis, size in enumerate(spec.shape) if size < 0 and not (axis == 0 and model.is_batched)]
        if opened:
            found = f"the input {spec.name} has an open size on the axes {opened} of {list(spec.shape)}"
            raise SourceError(f"making a LiteRT model: {found}; build the model with the sizes that it is called with")


def named_anew(content: bytes, inputs: list[str], outputs: list[str]) -> bytes:
    """Return the file with its first signature called `serving_default`, and its ends named in their order."""
    from ai_edge_litert.tools import flatbuffer_utils

    opened = open_litert(content)
    signature = opened.signatureDefs[0]
    signature.signatureKey = SIGNATURE
    graph = opened.subgraphs[signature.subgraphIndex]
    for ends, order, names in ((signature.inputs, graph.inputs, inputs), (signature.outputs, graph.outputs, outputs)):
        by_place = dict(zip([int(place) for place in order], names, strict=True))
        for end in ends:
            end.name = by_place[end.tensorIndex]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(opened))


def open_litert(content: bytes) -> Any:  # noqa: ANN401 - a `ModelT` of LiteRT's schema; it has no types
    """Return the file as an object.

    Raises:
        SourceError: It is no LiteRT file.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    if content[4:8] != b"TFL3":
        raise SourceError(f"{DOING}: {content[4:8]!r} found, expected the mark TFL3; give a .tflite file")
    try:
        return flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    except Exception as error:  # the reader's errors share no base class
        raise SourceError(f"{DOING}: {error}; the file is cut short or altered, write it again") from error
