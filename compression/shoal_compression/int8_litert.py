"""Full-integer LiteRT: int8 weights and activations by post-training quantization.

Input and output stay float32: the endpoint then has the same signature for every variant of a version, and the
scale of the input stays inside the file, where no caller can get it wrong.
"""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_compression.file_technique import Format
from shoal_compression.source import Source
from shoal_contract.reported import Runtime

SIGNATURE = "serving_default"
CALIBRATION_SAMPLES = 256


@dataclass(frozen=True)
class Int8Litert:
    """Post-training quantization by the TFLite converter (Jacob et al. 2018, arXiv 1712.05877)."""

    name: str = "int8-litert"
    target: str = "generic-litert-int8"
    runtime: Runtime = "litert"
    format: Format = "tflite"
    precision: str = "int8"
    golden_tolerance: float = 0.05
    tools: tuple[str, ...] = ("tensorflow", "keras", "ai-edge-litert")

    def apply(self, source: Source, out: Path) -> None:
        """Convert the Keras source with its calibration inputs; builtin int8 operators only."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its order of summing differs between processors
        with _quiet():
            import keras
            import tensorflow as tf

            model = keras.models.load_model(source.keras_path, compile=False, safe_mode=True)
            with tempfile.TemporaryDirectory() as folder:
                _save_with_signature(model, source, folder)
                converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = lambda: _samples(source)
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                out.write_bytes(converter.convert())


def _save_with_signature(model: Any, source: Source, folder: str) -> None:  # noqa: ANN401  (Keras has no types)
    """Save the model so that its one signature has the source's names; the batch may have any size."""
    import tensorflow as tf

    shape = [None if size < 0 else size for size in source.input.shape]
    spec = tf.TensorSpec(shape, tf.float32, source.input.name)
    answer = tf.function(lambda x: {source.output.name: model(x, training=False)}, input_signature=[spec])
    module = tf.Module()
    module.held = [variable.value for variable in model.variables]  # saving the Keras model itself leaves them unread
    tf.saved_model.save(module, folder, signatures={SIGNATURE: answer.get_concrete_function()})


def _samples(source: Source) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Yield single representative inputs, in an order that the source's seed decides."""
    order = np.random.default_rng(source.seed).permutation(len(source.calibration_x))
    for index in order[:CALIBRATION_SAMPLES]:
        yield {source.input.name: source.calibration_x[index : index + 1]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the converter's warnings, which ask for nothing that we could do; errors still surface."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
