"""What Keras's trainer does beyond the suite: it writes what LiteRT is made of, and sees that LiteRT says the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.training.frameworks.trainers import blobs, changed

from shoal_training.errors import ExportError, NetworkError
from shoal_training.frameworks.keras_trainer import FittedKeras, Keras
from shoal_training.frameworks.litert_parity import check_litert
from shoal_training.frameworks.trainer import Samples, TrainContext
from shoal_training.transforms.step import Affine

SMALL = {"network": {"kind": "mlp", "hidden": [8]}, "epochs": 2, "batch": 16}

AS_THEY_ARE = Affine((1.0,) * 4, (0.0,) * 4)


def context(folder: Path, **fields: Any) -> TrainContext:
    return TrainContext(**({"task": "classification", "classes": 3, "folder": folder, "seed": 1} | fields))


def fit(folder: Path, train: Samples | None = None, given: TrainContext | None = None, **fields: Any) -> FittedKeras:
    trainer = Keras.model_validate(SMALL | fields)
    fitted = trainer.fit(blobs(96) if train is None else train, None, given or context(folder))
    assert isinstance(fitted, FittedKeras)
    return fitted


def test_batches_that_are_put_together_make_the_step_of_a_larger_one(tmp_path: Path) -> None:
    train = changed(blobs(96), weight=np.linspace(1, 3, 96, dtype=np.float32))
    once = fit(tmp_path / "once", train, batch=32)
    parts = fit(tmp_path / "parts", train, batch=8, accumulate=4)
    np.testing.assert_allclose(parts.scores(train.x), once.scores(train.x), atol=1e-5)


def test_in_bfloat16_it_learns_as_well_and_writes_float32(tmp_path: Path) -> None:
    train = blobs(240)
    fitted = fit(tmp_path, train, precision="bfloat16", epochs=12, optimizer={"learning_rate": 0.02})
    assert fitted.facts["precision"] == "mixed_bfloat16"
    assert (fitted.scores(train.x).argmax(axis=1) == train.y).mean() > 0.85
    assert {layer.compute_dtype for layer in fitted.model.layers} == {"float32"}
    assert fitted.write(tmp_path, "x", train.x, AS_THEY_ARE) == ("model.keras",)


@pytest.mark.slow
def test_a_file_for_litert_that_says_something_else_is_refused(tmp_path: Path) -> None:
    train = blobs(96)
    fitted = fit(tmp_path)
    assert fitted.write(tmp_path, "image", train.x, AS_THEY_ARE) == ("model.keras",)
    content = (tmp_path / "model.keras").read_bytes()
    with pytest.raises(ExportError, match="comparing the model with its LiteRT form"):
        check_litert(content, "image", train.x, fitted.scores(train.x)[::-1])


def test_a_file_for_litert_scales_samples_as_the_preparation_did(tmp_path: Path) -> None:
    train = blobs(96)
    scale = Affine((0.5, 2.0, 1.0, -3.0), (1.0, 0.0, -2.0, 0.5))
    raw = ((train.x - np.array(scale.shift)) / np.array(scale.factor)).astype(np.float32)
    fitted = fit(tmp_path)
    assert fitted.write(tmp_path, "x", raw, scale) == ("model.keras",)
    with pytest.raises(ExportError, match="comparing the model with its LiteRT form"):
        check_litert((tmp_path / "model.keras").read_bytes(), "x", train.x, fitted.scores(train.x))


def test_without_litert_no_file_is_written(tmp_path: Path) -> None:
    assert fit(tmp_path, litert=False).write(tmp_path, "x", blobs(9).x, AS_THEY_ARE) == ()


OWN = """
import keras
def build(shape, outputs, units):
    x = keras.Input(shape, name="x")
    hidden = keras.layers.Dense(units, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    return keras.Model(x, keras.layers.Dense(outputs)(hidden))
"""


def test_a_network_of_ones_own_is_trained_and_written(tmp_path: Path) -> None:
    network = {"kind": "own", "build": "net.py:build", "parameters": {"units": 12}}
    given = replace(context(tmp_path), sources={"net.py": OWN})
    train = blobs(240)
    fitted = fit(tmp_path, train, given, network=network, epochs=15, optimizer={"learning_rate": 0.02})
    assert (fitted.scores(train.x).argmax(axis=1) == train.y).mean() > 0.85
    assert fitted.write(tmp_path, "x", train.x, AS_THEY_ARE) == ("model.keras",)
    wrong = replace(context(tmp_path / "b"), sources={"net.py": OWN.replace("Dense(outputs)", "Dense(outputs + 1)")})
    with pytest.raises(NetworkError, match=r"gives \(None, 4\), expected \(None, 4\) and \(None, 3\)"):
        fit(tmp_path / "b", train, wrong, network=network)
