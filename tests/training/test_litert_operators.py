"""The gradients that are written for LiteRT equal TensorFlow's own."""

from typing import Any

import numpy as np
import pytest

from shoal_training.litert_operators import Padding, conv2d, relu
from shoal_training.tensorflow_runtime import load_tensorflow


def _gradients(function: Any, *inputs: Any) -> list[Any]:
    tf = load_tensorflow()
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = tf.reduce_sum(tf.sin(function(*inputs)))
    return [gradient.numpy() for gradient in tape.gradient(value, inputs)]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("size", "window"), [(8, 3), (7, 3), (9, 5), (6, 1)])
def test_gradients_of_convolution_equal_tensorflows(padding: Padding, stride: int, size: int, window: int) -> None:
    tf = load_tensorflow()
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(4, size, size, 2)).astype(np.float32))
    kernel = tf.constant(random.normal(size=(window, window, 2, 3)).astype(np.float32))
    expected = _gradients(lambda a, b: tf.nn.conv2d(a, b, stride, padding), x, kernel)
    for found, wanted in zip(_gradients(lambda a, b: conv2d(a, b, stride, padding), x, kernel), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_gradient_of_relu_equals_tensorflows_at_and_around_zero() -> None:
    tf = load_tensorflow()
    x = tf.constant([-2.0, -0.5, 0.0, 0.5, 2.0])
    np.testing.assert_array_equal(_gradients(relu, x), _gradients(tf.nn.relu, x))
