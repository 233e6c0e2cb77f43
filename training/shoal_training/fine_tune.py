"""Fine-tunes a version on labelled samples, by SGD on the mean cross-entropy, and writes the next one's bundle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal_training.bundle import KERAS_FILE, Bundle, data_fingerprint, read_bundle
from shoal_training.errors import DataError
from shoal_training.new_version import bundle_from_weights
from shoal_training.progress import Progress, silent
from shoal_training.tensorflow_runtime import load_keras
from shoal_training.weights import get_weights

TRAIN_FILE = "train.npz"
"""Of a bundle that brings its training data along: x and y."""
STAGE = "train"


@dataclass(frozen=True)
class FineTuning:
    """How it is trained; `parent_share` of the parent's weights stays, see `weights.blend`."""

    epochs: int
    batch_size: int
    learning_rate: float
    parent_share: float
    seed: int = 0


def fine_tune(
    parent_dir: Path,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int32],
    out_dir: Path,
    settings: FineTuning,
    *,
    author: str,
    progress: Progress = silent,
) -> Bundle:
    """Train the parent's model further and write the bundle of what comes of it.

    Args:
        parent_dir: The parent's bundle, with a Keras model of one input whose last layer gives probabilities.
        x: (n, …) float32, finite.
        y: (n,) int32, places among the parent's labels.
        out_dir: A new or empty folder.
        settings: How.
        author: Who or what made this version.
        progress: Told after each epoch and each file.

    Raises:
        BundleError: The parent is no whole bundle with a trainer, or `out_dir` is not empty.
        DataError: The samples are none, not finite, or have labels that the model does not know.
        ExportError: An exported form does not compute what the model computes.
    """
    parent = read_bundle(parent_dir)
    _check(x, y, len(parent.labels))
    keras = load_keras()
    keras.utils.set_random_seed(settings.seed)
    model = keras.models.load_model(parent_dir / KERAS_FILE, compile=False, safe_mode=True)
    model.compile(keras.optimizers.SGD(settings.learning_rate), "sparse_categorical_crossentropy")
    for epoch in range(settings.epochs):
        model.fit(x, y, batch_size=settings.batch_size, epochs=1, verbose=0)
        progress(STAGE, epoch + 1, settings.epochs)
    return bundle_from_weights(
        parent_dir,
        get_weights(model),
        out_dir,
        author=author,
        parent_share=settings.parent_share,
        algorithm=f"{parent.algorithm}, fine-tuned",
        parameters={
            "fine_tuned_samples": len(y),
            "fine_tuned_epochs": settings.epochs,
            "fine_tuned_learning_rate": settings.learning_rate,
        },
        tags=("fine-tuned",),
        data_sha256=data_fingerprint((x, y)),
        progress=progress,
    )


def _check(x: npt.NDArray[np.float32], y: npt.NDArray[np.int32], classes: int) -> None:
    where = "fine-tuning"
    if len(x) == 0 or len(x) != len(y):
        raise DataError(f"{where}: {len(x)} samples and {len(y)} labels found, expected as many of both, one at least")
    if not np.isfinite(x).all():
        raise DataError(f"{where}: NaN or infinity found among the samples; leave such samples out")
    if y.min() < 0 or y.max() >= classes:
        raise DataError(f"{where}: labels {y.min()} to {y.max()} found, the model knows 0 to {classes - 1}")
