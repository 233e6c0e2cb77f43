"""The other quantizers, each as its guide has it, with the same model and the same calibration samples."""

import subprocess
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from compression_parts.datasets import ROOT
from serving_parts.peer import install_peer

from shoal_compression.data import Data
from shoal_compression.model import SIGNATURE, Model
from shoal_compression.quieting import quiet

PINS: Final = ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.28.0")
CHILD: Final = Path(__file__).with_name("nncf_child.py")
ORT, NNCF, AI_EDGE = "ONNX Runtime's default", "NNCF 3.4's default", "ai-edge-quantizer 0.8, static int8"


def by_onnxruntime(model: Model, data: Data) -> Model:
    """Quantize with `quantize_static` as it comes, after the pre-processing that it asks for."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Hands the calibration samples over, one by one."""

        def __init__(self) -> None:
            self.feeds = data.calibration.feeds(model)

        def get_next(self) -> Any:  # noqa: ANN401 - as ONNX Runtime has it
            return next(self.feeds, None)

    # It leaves files in the working directory.
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary), quiet():
        given, ready, made = (Path(temporary) / f"{name}.onnx" for name in ("given", "ready", "made"))
        given.write_bytes(model.content)
        try:
            quant_pre_process(given, ready)
        except Exception:  # noqa: BLE001 - whatever its shape inference meets; its documentation says to skip it then
            quant_pre_process(given, ready, skip_symbolic_shape=True)
        quantization.quantize_static(ready, made, Reader())
        return model.with_content(made.read_bytes(), precision="int8")


def by_nncf(model: Model, data: Data) -> Model:
    """Quantize with `nncf.quantize` as it comes, in an environment of its own."""
    python = install_peer(ROOT / ".cache" / "bench" / "nncf", PINS) / "bin" / "python"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "model.onnx").write_bytes(model.content)
        feeds = list(data.calibration.feeds(model))
        joined = {f"{place}/{name}": array for place, feed in enumerate(feeds) for name, array in feed.items()}
        np.savez(folder / "samples.npz", allow_pickle=False, **joined)
        done = subprocess.run([python, CHILD, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"quantizing with NNCF: {done.stderr[-800:]}")
        return model.with_content((folder / "made.onnx").read_bytes(), precision="int8")


def by_ai_edge(keras_model: Model, data: Data) -> Model:
    """Convert a Keras model to LiteRT, and quantize with ai-edge-quantizer's recipe for weights and activations."""
    from ai_edge_quantizer import qtyping, quantizer, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    [spec] = keras_model.inputs
    flat = _litert(keras_model)
    with tempfile.TemporaryDirectory() as folder, quiet(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        path = Path(folder) / "model.tflite"
        path.write_bytes(flat.content)
        one = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
        for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):  # in float32
            one.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
        samples = [{spec.name: feed[spec.name]} for feed in data.calibration.feeds(flat)]
        ranges = one.calibrate({SIGNATURE: samples})
        return flat.with_content(bytes(one.quantize(ranges).quantized_model), precision="int8")


def _litert(keras_model: Model) -> Model:
    """Return a Keras model as LiteRT in float32."""
    import keras
    import tensorflow as tf

    [spec], [output] = keras_model.inputs, keras_model.outputs
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.keras"
        path.write_bytes(keras_model.content)
        network = keras.models.load_model(path, compile=False, safe_mode=True)
        shape = [None if size < 0 else size for size in spec.shape]
        told = tf.TensorSpec(shape, tf.float32, spec.name)
        answer = tf.function(lambda x: {output.name: network(x, training=False)}, input_signature=[told])
        module = tf.Module()
        module.held = [variable.value for variable in network.variables]
        tf.saved_model.save(module, folder, signatures={SIGNATURE: answer.get_concrete_function()})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        return keras_model.with_content(converter.convert(), form="tflite")


def install() -> None:
    """Make the environments that the peers need."""
    print("preparing the peers", file=sys.stderr)
    install_peer(ROOT / ".cache" / "bench" / "nncf", PINS)
