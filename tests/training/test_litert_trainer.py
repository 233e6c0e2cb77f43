"""The exported trainer: what it computes, and that a device needs nothing but ai-edge-litert to run it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter

from shoal_training.bundle import KERAS_FILE, TEST_FILE, TRAINER_FILE, WEIGHTS_FILE
from shoal_training.digits.settings import FederatedDefaults
from shoal_training.errors import ExportError
from shoal_training.litert_trainer import export_trainer
from shoal_training.tensorflow_runtime import load_keras
from shoal_training.weights import read_weights

BATCH = FederatedDefaults().batch_size
MOST_MEMORY_BYTES = 100 * 2**20

DEVICE_PROGRAM = """
import json, re, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

trainer, test = Interpreter(sys.argv[1]), np.load(sys.argv[2])
train, read, write = (trainer.get_signature_runner(n) for n in ("train", "get_weights", "set_weights"))
batch = train.get_input_details()["x"]["shape"][0]
x, y = 1 - test["x"][:batch], test["y"][:batch]  # inverted digits: something left to learn
before = read()
losses = [float(train(x=x, y=y, lr=np.float32(0.02))["loss"]) for _ in range(50)]
after = read()
write(**before)
print(json.dumps({
    "losses": losses,
    "weights_moved": any(not np.array_equal(before[k], after[k]) for k in before),
    "round_trip_is_exact": all(np.array_equal(before[k], v) for k, v in read().items()),
    "heavy_modules": [m for m in ("tensorflow", "keras", "torch") if m in sys.modules],
    "memory_bytes": int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024,
}))
"""


class _Trainer:
    def __init__(self, path: Path) -> None:
        self.interpreter = Interpreter(str(path))

    def __call__(self, signature: str, **inputs: Any) -> Any:
        return self.interpreter.get_signature_runner(signature)(**inputs)

    def weights(self) -> list[npt.NDArray[np.float32]]:
        return [value for _, value in sorted(self("get_weights").items())]


@pytest.fixture
def trainer(bundle_dir: Path) -> _Trainer:
    return _Trainer(bundle_dir / TRAINER_FILE)


@pytest.fixture
def batch(bundle_dir: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    with np.load(bundle_dir / TEST_FILE) as test:
        return test["x"][:BATCH], test["y"][:BATCH]


@pytest.fixture(scope="module")
def device_answer(bundle_dir: Path) -> Any:
    command = [sys.executable, "-c", DEVICE_PROGRAM, str(bundle_dir / TRAINER_FILE), str(bundle_dir / TEST_FILE)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def test_training_on_a_device_lowers_the_loss(device_answer: Any) -> None:
    assert device_answer["weights_moved"]
    assert device_answer["losses"][-1] < 0.5 * device_answer["losses"][0]


def test_training_on_a_device_needs_no_tensorflow(device_answer: Any) -> None:
    assert device_answer["heavy_modules"] == []


def test_weights_go_into_the_trainer_and_come_back_bit_for_bit(device_answer: Any) -> None:
    assert device_answer["round_trip_is_exact"]


def test_training_fits_the_memory_of_a_small_board(device_answer: Any) -> None:
    assert device_answer["memory_bytes"] < MOST_MEMORY_BYTES


def test_the_trainer_starts_from_the_versions_weights(trainer: _Trainer, bundle_dir: Path) -> None:
    for found, expected in zip(trainer.weights(), read_weights(bundle_dir / WEIGHTS_FILE), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_inference_of_any_number_of_rows_equals_keras(trainer: _Trainer, bundle_dir: Path) -> None:
    model = load_keras().models.load_model(bundle_dir / KERAS_FILE, compile=False)
    with np.load(bundle_dir / TEST_FILE) as test:
        for rows in (1, BATCH, 37):
            found = trainer("infer", x=test["x"][:rows])["probabilities"]
            np.testing.assert_allclose(found, np.asarray(model(test["x"][:rows])), atol=1e-5)


def test_one_step_equals_the_step_of_keras(trainer: _Trainer, batch: Any, bundle_dir: Path) -> None:
    keras, (x, y) = load_keras(), batch
    model = keras.models.load_model(bundle_dir / KERAS_FILE, compile=False)
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    expected_loss = model.train_on_batch(x, y)
    loss = trainer("train", x=x, y=y, lr=np.float32(0.5))["loss"]
    assert loss == pytest.approx(float(expected_loss), abs=1e-5)
    for found, expected in zip(trainer.weights(), model.trainable_variables, strict=True):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_rows_of_label_minus_one_do_not_count(bundle_dir: Path, batch: Any) -> None:
    x, y = batch[0].copy(), batch[1].copy()
    y[3:] = -1
    answers = []
    for filling in (0.0, 9.0):
        x[3:] = filling
        trainer = _Trainer(bundle_dir / TRAINER_FILE)
        answers.append((trainer("train", x=x, y=y, lr=np.float32(0.1))["loss"], trainer.weights()))
    assert answers[0][0] == answers[1][0]
    for one, other in zip(answers[0][1], answers[1][1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_the_loss_of_a_short_batch_is_the_mean_over_its_samples(trainer: _Trainer, batch: Any) -> None:
    x, y = batch[0], batch[1].copy()
    y[3:] = -1
    probabilities = trainer("infer", x=x)["probabilities"]
    expected = -np.log(probabilities[np.arange(3), y[:3]]).mean()
    assert trainer("train", x=x, y=y, lr=np.float32(0.1))["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_a_batch_of_fillings_alone_changes_nothing(trainer: _Trainer, batch: Any) -> None:
    before = trainer.weights()
    loss = trainer("train", x=batch[0], y=np.full(BATCH, -1, np.int32), lr=np.float32(1.0))["loss"]
    assert loss == 0.0
    for found, expected in zip(trainer.weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def _export_layers(tmp_path: Path, *layers: Any) -> None:
    keras = load_keras()
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), *layers])
    export_trainer(model, tmp_path / "trainer.tflite", BATCH)


def test_a_layer_without_a_translation_is_refused_by_name(tmp_path: Path) -> None:
    layers = load_keras().layers
    with pytest.raises(ExportError, match="layer pool is a MaxPooling2D; supported are Conv2D, Dense, Flatten"):
        _export_layers(tmp_path, layers.MaxPooling2D(name="pool"))


def test_an_activation_without_a_translation_is_refused(tmp_path: Path) -> None:
    layers = load_keras().layers
    last = layers.Dense(2, activation="softmax")
    with pytest.raises(ExportError, match="activation tanh, expected relu or linear"):
        _export_layers(tmp_path, layers.Flatten(), layers.Dense(4, activation="tanh"), last)


def test_a_model_that_does_not_end_in_softmax_is_refused(tmp_path: Path) -> None:
    layers = load_keras().layers
    with pytest.raises(ExportError, match="activation linear, expected softmax"):
        _export_layers(tmp_path, layers.Flatten(), layers.Dense(2))


@pytest.mark.parametrize("setting", [{"use_bias": False}, {"dilation_rate": 2}, {"strides": (1, 2)}])
def test_a_convolution_with_unusual_settings_is_refused(tmp_path: Path, setting: Any) -> None:
    layers = load_keras().layers
    with pytest.raises(ExportError, match="convolution odd needs a bias"):
        _export_layers(tmp_path, layers.Conv2D(2, 3, name="odd", **setting), layers.Flatten())
