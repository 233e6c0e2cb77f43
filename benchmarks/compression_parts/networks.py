"""The networks that compression is measured with, in Keras: each can then be had as ONNX and as LiteRT too."""

from typing import Any

from shoal_training.tensorflow_runtime import load_keras

# ruff: noqa: ANN401 - Keras has no types

CLASSES = 10
MOBILE_BLOCKS = ((16, 1, 1), (24, 2, 4), (24, 1, 4), (32, 1, 4), (32, 1, 4), (48, 2, 4), (48, 1, 4))
"""Channels, stride and expansion of the inverted residual blocks (Sandler et al. 2018, table 2, made small)."""
TOKENS, WIDTH, HEADS, HIDDEN, BLOCKS = 28, 64, 4, 128, 2


def cnn() -> Any:
    """Return the project's network for digits, for images of 28 x 28."""
    layers = load_keras().layers
    return load_keras().Sequential(
        [
            layers.Input((28, 28, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv2"),
            layers.Flatten(name="flatten"),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ],
        name="mnist_cnn",
    )


def mobilenet() -> Any:
    """Return a network of MobileNetV2's shape: inverted residuals, depthwise convolutions, batch norm, ReLU6."""
    keras = load_keras()
    layers = keras.layers
    image = layers.Input((28, 28, 1), name="image")
    x = _convolve(image, layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False))
    for channels, stride, expansion in MOBILE_BLOCKS:
        x = _inverted_residual(x, channels, stride, expansion)
    x = _convolve(x, layers.Conv2D(128, 1, use_bias=False))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="probabilities")(x), name="mobilenet")


def _convolve(x: Any, layer: Any, *, is_linear: bool = False) -> Any:
    layers = load_keras().layers
    x = layers.BatchNormalization(momentum=0.9)(layer(x))
    return x if is_linear else layers.ReLU(6)(x)


def _inverted_residual(x: Any, channels: int, stride: int, expansion: int) -> Any:
    layers = load_keras().layers
    before, width = x, x.shape[-1]
    if expansion > 1:
        x = _convolve(x, layers.Conv2D(width * expansion, 1, use_bias=False))
    x = _convolve(x, layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False))
    x = _convolve(x, layers.Conv2D(channels, 1, use_bias=False), is_linear=True)
    return layers.Add()([before, x]) if stride == 1 and channels == width else x


def one_dimensional() -> Any:
    """Return a network of 1D convolutions for windows (50, 6) of a watch's sensors."""
    keras = load_keras()
    layers = keras.layers
    window = layers.Input((50, 6), name="window")
    x = layers.Conv1D(32, 5, padding="same", activation="relu")(window)
    x = layers.Conv1D(64, 5, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv1D(64, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(window, layers.Dense(4, activation="softmax", name="probabilities")(x), name="accelerometer")


def transformer() -> Any:
    """Return a small transformer that reads an image as 28 tokens, its rows."""
    keras = load_keras()
    layers = keras.layers
    image = layers.Input((28, 28, 1), name="image")
    rows = layers.Reshape((TOKENS, 28))(image)
    # Its scale and shift are learnt for each token: that tells where a row stands, and any exporter takes it.
    x = layers.LayerNormalization(axis=(1, 2), epsilon=1e-5)(layers.Dense(WIDTH)(rows))
    for _ in range(BLOCKS):
        x = x + _attend(layers.LayerNormalization(epsilon=1e-5)(x))
        hidden = layers.Dense(HIDDEN, activation="relu")(layers.LayerNormalization(epsilon=1e-5)(x))
        x = x + layers.Dense(WIDTH)(hidden)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-5)(x))
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="probabilities")(x), name="transformer")


def _attend(x: Any) -> Any:
    """Return multi-head self-attention, written out: Keras' own layer leaves Einsum nodes, which none quantizes."""
    keras = load_keras()
    layers, ops = keras.layers, keras.ops
    width = WIDTH // HEADS

    def heads(y: Any) -> Any:
        return ops.transpose(layers.Reshape((TOKENS, HEADS, width))(layers.Dense(WIDTH)(y)), (0, 2, 1, 3))

    query, key, value = heads(x), heads(x), heads(x)
    scores = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * width**-0.5)
    mixed = ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3))
    return layers.Dense(WIDTH)(layers.Reshape((TOKENS, WIDTH))(mixed))
