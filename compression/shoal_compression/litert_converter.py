"""Turns a network of Keras or tf_keras into a LiteRT file, by TensorFlow's converter.

Input and output stay what the source has, also where all between them is quantized: the endpoint then has the same
signature for every variant of a version, and the scale of the input stays inside the file, where no caller can get it
wrong.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.keras_file import answers
from shoal_compression.litert_file import check_sizes
from shoal_compression.model import SIGNATURE, Model
from shoal_compression.quieting import quiet
from shoal_compression.tensorflow_runtime import load_tensorflow
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import NUMPY_TYPES, Array

Precision = Literal["float32", "float16", "dynamic", "int8", "int16", "trained"]
"""`trained`: int8 by the ranges that quantization-aware training has put into the network."""


@dataclass(frozen=True)
class Conversion:
    """What the converter is asked for."""

    precision: Precision = "float32"
    calibration: Samples | None = None
    """Needed by int8 and int16."""


def convert(network: Any, model: Model, conversion: Conversion) -> bytes:  # noqa: ANN401 - a network of either Keras
    """Return the file: builtin operators only, one signature with the names of `model`, the batch of any size.

    Raises:
        SourceError: An input has an open size other than the batch.
        TechniqueError: The converter does not know an operator, or an integer form of it.
    """
    check_sizes(model)
    tf = load_tensorflow()
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            _save(network, model, folder)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
            _set_up(converter, conversion)
            return bytes(converter.convert())
        except Exception as error:  # the converter's errors share no base class
            msg = f"converting a Keras model to LiteRT as {conversion.precision}: {_reason(error)}"
            raise TechniqueError(f"{msg}; replace that layer, or convert to ONNX with to-onnx") from error


def _set_up(converter: Any, conversion: Conversion) -> None:  # noqa: ANN401 - TensorFlow has no types
    tf = load_tensorflow()
    sets = tf.lite.OpsSet
    if conversion.precision == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if conversion.precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if conversion.precision in {"int8", "int16"}:
        samples = conversion.calibration
        if samples is None:
            raise ValueError("no samples to calibrate with")
        wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [wide if conversion.precision == "int16" else sets.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _singles(samples)


def _singles(samples: Samples) -> Iterator[dict[str, Array]]:
    for row in range(len(samples)):
        yield {name: array[row : row + 1] for name, array in samples.inputs.items()}


def _save(network: Any, model: Model, folder: str) -> None:  # noqa: ANN401 - as above
    """Save the network so that its one signature has the model's names, whatever the network calls them."""
    tf = load_tensorflow()
    module = tf.Module()
    # Saving the network itself would leave the variables of a Keras model unread.
    module.held = [one if isinstance(one, tf.Variable) else one.value for one in network.variables]

    def answer(*arrays: Any) -> dict[str, Any]:  # noqa: ANN401 - tensors
        made = answers(network, arrays)
        return {spec.name: array for spec, array in zip(model.outputs, made, strict=True)}

    called = tf.function(answer, input_signature=[_spec(spec) for spec in model.inputs])
    tf.saved_model.save(module, folder, signatures={SIGNATURE: called.get_concrete_function()})


def _spec(spec: TensorSpec) -> Any:  # noqa: ANN401 - as above
    tf = load_tensorflow()
    shape = [None if size < 0 else size for size in spec.shape]
    return tf.TensorSpec(shape, tf.as_dtype(NUMPY_TYPES[spec.datatype]), spec.name)


def _reason(error: Exception) -> str:
    """Return the lines that say which operator it was: the converter writes several pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line or "Flex ops" in line or "Custom ops" in line or "tf." in line]
    return " ".join(told or lines)[:500]
