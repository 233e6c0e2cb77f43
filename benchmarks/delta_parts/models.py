"""Trains the models whose files are compared: one parent, and three versions that are really made from it.

`python benchmarks/delta_parts/models.py OUT SEED` writes a folder a version and `models.json`; it is a process of its
own, since TensorFlow's memory must not count as that of what is measured afterwards.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from shoal_agent.federated.job import TrainingJob, TrainingResult
from shoal_compression.budget import Budget
from shoal_compression.data import Data, Samples
from shoal_compression.model import Form, Model
from shoal_compression.technique import Technique
from shoal_compression.techniques.quantize.keras_int8 import KerasInt8
from shoal_compression.techniques.quantize.static import Int8Static
from shoal_contract.manifest import TensorSpec
from shoal_numerics.update_coding import decode_update, weighted_mean
from shoal_training.digits import DigitsSplits, DigitsTraining, FederatedDefaults, Split, digits_splits, shift
from shoal_training.digits.augment import augment
from shoal_training.digits.model import CLASSES
from shoal_training.digits.train import fit
from shoal_training.progress import silent
from shoal_training.tensorflow_runtime import load_keras
from shoal_training.version_files import onnx_accuracy, write_model_files
from shoal_training.weights import blend, get_weights, read_weights, set_weights

PARENT, FINE_TUNED, HEAD_ONLY, FEDERATED = "parent", "fine-tuned", "head-only", "federated"
FINE_TUNING = DigitsTraining(epochs=4, learning_rate=3e-4)
"""A tenth of the parent's learning rate and a quarter of its epochs, as fine-tuning is commonly done."""
FEDERATED_RATE = 0.01
"""The digits network's 0.05 makes one of twenty times as many weights worse and not better."""
DEVICES = 3
MAX_UPDATE_BYTES = 64 * 1024 * 1024
MAX_MEMORY_BYTES = 8 * 1024**3
MAX_CPU_S = 600


def build_cnn(seed: int) -> Any:  # noqa: ANN401  (a keras.Model)
    """Build a network of the digits network's kind with 770,000 weights: that one is smaller than one chunk."""
    keras = load_keras()
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv2"),
            layers.Conv2D(128, 3, strides=2, padding="same", activation="relu", name="conv3"),
            layers.Conv2D(128, 3, padding="same", activation="relu", name="conv4"),
            layers.Flatten(name="flatten"),
            layers.Dense(256, activation="relu", name="hidden"),
            layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ],
        name="digits-wide",
    )


def train_all(out: Path, seed: int) -> None:
    """Write all versions and how accurate each is on digits that none has seen, straight and turned."""
    splits = digits_splits(seed)
    adapting = Split(shift(splits.device.x, seed), splits.device.y)
    parent = build_cnn(seed)
    fit(parent, augment(splits.centre, seed, DigitsTraining()), DigitsTraining(), silent)
    figures = {PARENT: _write(out, PARENT, parent, splits, seed)}
    for name, is_frozen in ((FINE_TUNED, False), (HEAD_ONLY, True)):
        figures[name] = _write(out, name, _fine_tuned(parent, adapting, is_frozen=is_frozen), splits, seed)
    figures[FEDERATED] = _write(out, FEDERATED, _after_one_round(out, parent, splits, seed), splits, seed)
    (out / "models.json").write_text(json.dumps(figures))


def _fine_tuned(parent: Any, split: Split, *, is_frozen: bool) -> Any:  # noqa: ANN401  (Keras models)
    """Return a copy of the parent trained on turned digits; frozen, all but its last layer stays as it is."""
    model = load_keras().models.clone_model(parent)
    set_weights(model, get_weights(parent))
    for layer in model.layers[:-1]:
        layer.trainable = not is_frozen
    fit(model, split, FINE_TUNING, silent)
    for layer in model.layers:
        layer.trainable = True  # or the frozen ones would be left out of the files
    return model


def _after_one_round(out: Path, parent: Any, splits: DigitsSplits, seed: int) -> Any:  # noqa: ANN401  (Keras models)
    """Return what a hub registers after one round: the mean of what each device's own child has trained, blended."""
    base, defaults = read_weights(out / PARENT / "weights.safetensors"), FederatedDefaults()
    updates, counts = [], []
    for index in range(DEVICES):
        part = splits.device.part(index, DEVICES)
        folder = out / f"device-{index}"
        folder.mkdir()
        np.savez(folder / "data.npz", x=shift(part.x, seed + index), y=part.y)
        job = TrainingJob(
            trainer=out / PARENT / "trainer.tflite",
            weights=out / PARENT / "weights.safetensors",
            dataset=folder / "data.npz",
            update=folder / "update",
            result=folder / "result.json",
            epochs=defaults.epochs,
            batch_size=defaults.batch_size,
            learning_rate=FEDERATED_RATE,
            seed=seed + index,
            update_scheme="float32",
            max_update_bytes=MAX_UPDATE_BYTES,
            max_examples=len(part),
            max_memory_bytes=MAX_MEMORY_BYTES,
            max_cpu_s=MAX_CPU_S,
            nice=0,
        )
        updates.append(decode_update(_train_on_device(job, folder), base, MAX_UPDATE_BYTES))
        counts.append(len(part))
    model = load_keras().models.clone_model(parent)
    set_weights(model, blend(base, weighted_mean(updates, counts), defaults.parent_share))
    return model


def _train_on_device(job: TrainingJob, folder: Path) -> bytes:
    """Train as the agent does, in its child process; return the update."""
    (folder / "job.json").write_text(job.model_dump_json())
    subprocess.run([sys.executable, "-m", "shoal_agent.federated.child", folder / "job.json"], check=True)
    result = TrainingResult.model_validate_json(job.result.read_bytes())
    if result.error:
        raise RuntimeError(f"training the federated round in {folder}: {result.error}")
    return job.update.read_bytes()


def _write(out: Path, name: str, model: Any, splits: DigitsSplits, seed: int) -> dict[str, float]:  # noqa: ANN401
    """Write a version's float32 files and both int8 variants; return its accuracies."""
    folder = out / name
    folder.mkdir(parents=True)
    write_model_files(model, folder, splits.test.x, FederatedDefaults().batch_size, silent)
    inputs = (TensorSpec(name="image", datatype="FP32", shape=(-1, 8, 8, 1)),)
    outputs = (TensorSpec(name="probabilities", datatype="FP32", shape=(-1, CLASSES)),)
    data = Data(Samples({"image": splits.centre.x}), Samples({"image": splits.test.x}, splits.test.y))
    techniques: dict[Form, Technique] = {"keras": KerasInt8(), "onnx": Int8Static()}
    for form, technique in techniques.items():
        source = Model(form, (folder / f"model.{form}").read_bytes(), inputs, outputs)
        made = technique.apply(source, data, Budget(seed=seed))
        (folder / f"int8.{made.form}").write_bytes(made.content)
    straight = onnx_accuracy(folder / "model.onnx", splits.test.x, splits.test.y)
    turned = onnx_accuracy(folder / "model.onnx", shift(splits.test.x, seed + 1), splits.test.y)
    return {"accuracy_straight": round(straight, 4), "accuracy_turned": round(turned, 4)}


if __name__ == "__main__":
    train_all(Path(sys.argv[1]), int(sys.argv[2]))
