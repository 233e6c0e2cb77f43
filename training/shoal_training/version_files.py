"""Writes the files of a bundle that follow from a trained Keras model: source, ONNX, trainer and weights."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_training.bundle import KERAS_FILE, ONNX_FILE, TRAINER_FILE, WEIGHTS_FILE
from shoal_training.litert_trainer import export_trainer
from shoal_training.onnx_export import export_onnx, run_onnx
from shoal_training.progress import Progress
from shoal_training.tensorflow_runtime import quiet_conversion
from shoal_training.weights import get_weights, write_weights

STAGE = "export"


def write_model_files(
    model: Any,  # noqa: ANN401  (a keras.Sequential)
    folder: Path,
    sample: npt.NDArray[np.float32],
    trainer_batch_size: int,
    progress: Progress,
) -> None:
    """Write `model.keras`, `weights.safetensors`, `model.onnx` and `trainer.tflite`.

    Args:
        model: The trained model.
        folder: The bundle's folder.
        sample: (n, …) float32 inputs on which Keras and ONNX are compared.
        trainer_batch_size: Rows of one batch on a device.
        progress: Told after each file.

    Raises:
        ExportError: ONNX and Keras disagree, or the trainer cannot express a layer.
    """
    progress(STAGE, 0, 3)
    with quiet_conversion():
        model.save(folder / KERAS_FILE)
    write_weights(folder / WEIGHTS_FILE, get_weights(model))
    progress(STAGE, 1, 3)
    export_onnx(model, folder / ONNX_FILE, sample)
    progress(STAGE, 2, 3)
    export_trainer(model, folder / TRAINER_FILE, trainer_batch_size)
    progress(STAGE, 3, 3)


def onnx_accuracy(path: Path, x: npt.NDArray[np.float32], y: npt.NDArray[np.int32]) -> float:
    """Return the share (0..1) of samples whose most probable class is the label.

    Args:
        path: An ONNX model whose first output is (n, classes).
        x: (n, …) float32.
        y: (n,) int32.
    """
    return float((run_onnx(path, x).argmax(axis=1) == y).mean())
