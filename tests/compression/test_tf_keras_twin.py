"""The same network in tf_keras: equal where both know the layers, refused where they do not."""

from typing import Any

import numpy as np
import pytest
from tests.compression.zoo import keras_model, noise

from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.tensorflow_runtime import load_keras
from shoal_compression.tf_keras_twin import arrays_of, twin_of


def _residual(join: Any) -> Model:
    keras = load_keras()
    keras.utils.set_random_seed(5)
    layers = keras.layers
    image = layers.Input((8, 8, 4), name="image")
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(6.0, name="relu")(x)
    x = join(x, layers.Conv2D(4, 1, kernel_regularizer=keras.regularizers.L2(1e-4), name="pointwise")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    return keras_model(keras.Model(image, layers.Dense(3, activation="softmax", name="scores")(x)))


def test_a_network_with_branches_computes_the_same_in_tf_keras() -> None:
    model = _residual(lambda a, b: load_keras().layers.Add(name="add")([a, b]))
    samples = noise(model).calibration
    twin = twin_of(model, samples)
    assert {"depthwise", "norm", "pointwise", "scores"} == set(arrays_of(twin))
    assert np.asarray(twin(samples.inputs["image"])).shape == (16, 3)
    assert twin.get_layer("pointwise").kernel_regularizer is not None


def test_an_operation_that_is_no_layer_is_refused_with_what_to_write_instead() -> None:
    model = _residual(lambda a, b: a + b)
    with pytest.raises(TechniqueError, match=r"is a Add of keras.*keras.layers.Add for \+"):
        twin_of(model, noise(model).calibration)


def test_a_network_within_a_network_is_refused() -> None:
    keras = load_keras()
    inner = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(4)], name="inner")
    model = keras_model(keras.Sequential([keras.layers.Input((4,), name="x"), inner, keras.layers.Dense(2, name="y")]))
    with pytest.raises(TechniqueError, match="inner is a Sequential"):
        twin_of(model, noise(model).calibration)
