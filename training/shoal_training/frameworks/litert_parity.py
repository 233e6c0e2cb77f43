"""Sees that LiteRT makes of a `.keras` file what was trained, before it is registered."""

from shoal_compression.data import Samples
from shoal_compression.errors import CompressionError
from shoal_compression.keras_file import check_keras, open_keras
from shoal_compression.litert_converter import Conversion, convert
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_contract.manifest import TensorSpec
from shoal_training.errors import ExportError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.parity import check_same


def check_litert(content: bytes, input_name: str, x: Array, scores: Array) -> None:
    """Convert, run and compare.

    Args:
        content: The `.keras` file.
        input_name: What the model's input is called.
        x: (n, ...) float32 samples.
        scores: What was trained says of them.

    Raises:
        ExportError: It can not be converted, or what comes of it differs.
    """
    inputs = (TensorSpec(name=input_name, datatype="FP32", shape=(-1, *x.shape[1:])),)
    outputs = (TensorSpec(name="scores", datatype="FP32", shape=(-1, *scores.shape[1:])),)
    model = Model("keras", content, inputs, outputs)
    try:
        check_keras(content)
        made = model.with_content(convert(open_keras(model), model, Conversion()), form="tflite")
        found = outputs_of(made, Samples({input_name: x}))["scores"]
    except CompressionError as error:
        raise ExportError(
            f"making a LiteRT file of the model: {error}; or set `litert: false` to go without"
        ) from error
    check_same("the model", scores, found, "LiteRT")
