"""Trains version 1 of the digits model and writes its bundle."""

from pathlib import Path
from typing import Any

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_training.bundle import (
    CALIBRATION_FILE,
    ONNX_FILE,
    TEST_FILE,
    Bundle,
    TrainerSpec,
    data_fingerprint,
    new_folder,
    record_files,
    tool_versions,
    write_bundle,
    write_card,
)
from shoal_training.digits.augment import augment
from shoal_training.digits.card import digits_card
from shoal_training.digits.data import DigitsSplits, Split, digits_splits
from shoal_training.digits.model import CLASSES, build_digits_cnn
from shoal_training.digits.settings import DigitsTraining, FederatedDefaults
from shoal_training.progress import Progress, silent
from shoal_training.source_code import code_record
from shoal_training.tensorflow_runtime import load_keras
from shoal_training.version_files import onnx_accuracy, write_model_files


def train_digits(
    out_dir: Path,
    seed: int = 0,
    progress: Progress = silent,
    settings: DigitsTraining | None = None,
    author: str = "shoal",
) -> Bundle:
    """Train on the centre split and write the bundle.

    Args:
        out_dir: A new or empty folder.
        seed: Decides splits, first weights and the order of the batches.
        progress: Told after each epoch and each exported file.
        settings: Sizes, epochs, learning rate.
        author: Goes into the bundle.

    Raises:
        BundleError: `out_dir` is not empty.
        ExportError: An exported form does not compute what the model computes.
    """
    settings = settings or DigitsTraining()
    new_folder(out_dir)
    splits = digits_splits(seed, settings)
    model = build_digits_cnn(seed)
    fit(model, augment(splits.centre, seed, settings), settings, progress)
    np.savez_compressed(out_dir / CALIBRATION_FILE, x=splits.centre.x)
    np.savez_compressed(out_dir / TEST_FILE, x=splits.test.x, y=splits.test.y)
    write_model_files(model, out_dir, splits.test.x, FederatedDefaults().batch_size, progress)
    write_card(out_dir, digits_card(out_dir / ONNX_FILE, splits.test, author))
    bundle = _describe(out_dir, seed, splits, settings, author)
    write_bundle(out_dir, bundle)
    return bundle


def fit(model: Any, split: Split, settings: DigitsTraining, progress: Progress) -> None:  # noqa: ANN401  (Keras)
    """Train `model` in place by Adam, with a learning rate that falls to nothing along a cosine."""
    keras = load_keras()
    steps = settings.epochs * -(-len(split) // settings.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _logs: progress("train", epoch + 1, settings.epochs)
    )
    model.fit(split.x, split.y, batch_size=settings.batch_size, epochs=settings.epochs, verbose=0, callbacks=[told])


def _describe(folder: Path, seed: int, splits: DigitsSplits, settings: DigitsTraining, author: str) -> Bundle:
    return Bundle(
        name="digits",
        algorithm="convolutional network, Adam, cross-entropy",
        author=author,
        framework="keras",
        parameters={
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
            "augmented_copies": settings.augmented_copies,
            "train_samples": len(splits.centre),
            "test_samples": len(splits.test),
        },
        metrics={"accuracy": onnx_accuracy(folder / ONNX_FILE, splits.test.x, splits.test.y)},
        tags=("digits", "vision"),
        inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, 8, 8, 1)),),
        outputs=(TensorSpec(name="probabilities", datatype="FP32", shape=(-1, CLASSES)),),
        labels=tuple(str(digit) for digit in range(CLASSES)),
        data_sha256=data_fingerprint((splits.centre.x, splits.centre.y)),
        seed=seed,
        trainer=TrainerSpec(batch_size=FederatedDefaults().batch_size),
        code=code_record(Path(__file__)),
        tool_versions=tool_versions(),
        files=record_files(folder),
    )
