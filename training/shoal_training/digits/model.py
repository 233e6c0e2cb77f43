"""The small convolutional network for digits, described once; every export is made from this Keras model."""

from typing import Any

from shoal_training.tensorflow_runtime import load_keras

CLASSES = 10


def build_digits_cnn(seed: int) -> Any:  # noqa: ANN401  (a keras.Model; Keras has no types)
    """Build the network with fresh weights drawn from `seed`: (n, 8, 8, 1) float32 to (n, 10) probabilities.

    Strided convolutions in place of pooling: all of its gradients can be written in LiteRT's builtin operators.
    """
    keras = load_keras()
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv2"),
            layers.Flatten(name="flatten"),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ],
        name="digits",
    )
