"""Builds networks in Keras 3, and puts what a model says behind them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from shoal_training.errors import NetworkError
from shoal_training.frameworks.layers import Layer, Shape
from shoal_training.frameworks.networks import Network, Own
from shoal_training.frameworks.own_network import build_own
from shoal_training.tensorflow_runtime import load_keras
from shoal_training.transforms.step import Affine

_IMAGE_AXES: Final = 3


def build_keras(network: Network, sources: Mapping[str, str], shape: Shape, outputs: int, policy: str) -> Any:  # noqa: ANN401 - a keras.Model
    """Build a network from (n, *shape) float32 to (n, outputs), with fresh weights.

    Args:
        network: Which.
        sources: Of one's own.
        shape: Of one sample.
        outputs: Numbers for one.
        policy: How it computes: `float32`, `mixed_bfloat16` or `mixed_float16`.

    Raises:
        NetworkError: It can not be built, or gives something else.
    """
    keras = load_keras()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        if isinstance(network, Own):
            return _checked(build_own(network, sources, shape, outputs), network, shape, outputs)
        layers = network.layers(shape, outputs) or ()
        made = [one for layer in layers for one in _LAYERS[layer.kind](keras.layers, layer)]
        return keras.Sequential([keras.layers.Input(shape, name="x"), *made], name="network")
    finally:
        keras.config.set_dtype_policy(before)


def scored(network: Any, mean: float | None, deviation: float) -> Any:  # noqa: ANN401 - keras.Models
    """Return the whole model: `x` to `scores`, with the weights of the network.

    Args:
        network: To (n, outputs), in float32.
        mean: Of a regression's answers; None: the outputs are logits of classes.
        deviation: Of the same.
    """
    layers = load_keras().layers
    if mean is None:
        end = [layers.Softmax(name="scores")]
    else:
        end = [layers.Rescaling(deviation, mean, name="scale"), layers.Reshape((), name="scores")]
    keras = load_keras()
    if isinstance(network, keras.Sequential):
        return keras.Sequential([keras.layers.Input(network.input_shape[1:], name="x"), *network.layers, *end])
    found = network.outputs[0]
    for layer in end:
        found = layer(found)
    return keras.Model(network.inputs[0], found, name="network")


def scaled(model: Any, affine: Affine) -> Any:  # noqa: ANN401 - keras.Models
    """Return a whole model that takes samples as a device has them; itself where nothing is done to them."""
    if set(affine.factor) == {1.0} and set(affine.shift) == {0.0}:
        return model
    keras = load_keras()
    before = keras.layers.Rescaling([*affine.factor], [*affine.shift], name="prepare")
    x = keras.layers.Input(model.input_shape[1:], name="x")
    if isinstance(model, keras.Sequential):
        return keras.Sequential([x, before, *model.layers])
    return keras.Model(x, model(before(x)), name="network")


def _checked(network: Any, own: Own, shape: Shape, outputs: int) -> Any:  # noqa: ANN401 - a keras.Model
    keras = load_keras()
    if not isinstance(network, keras.Model) or not network.built or len(network.inputs or ()) != 1:
        raise NetworkError(
            f"building {own.build}: {type(network).__name__} found, expected a keras.Model of the functional or "
            "sequential kind with one Input layer"
        )
    if network.input_shape != (None, *shape) or network.output_shape != (None, outputs):
        raise NetworkError(
            f"building {own.build}: it takes {network.input_shape} and gives {network.output_shape}, expected "
            f"{(None, *shape)} and {(None, outputs)}; the function gets the shape of a sample and the number of outputs"
        )
    return network


def _channels(layers: Any, layer: Layer) -> list[Any]:  # noqa: ANN401 - Keras has no types
    if layer.setting == "missing":
        return [layers.Reshape(layer.gives)]
    places = range(2, len(layer.takes) + 1)
    return [layers.Permute((*places, 1))] if layer.setting == "first" else []


def _convolution(layers: Any, layer: Layer) -> list[Any]:  # noqa: ANN401 - as above
    kind = layers.Conv2D if len(layer.takes) == _IMAGE_AXES else layers.Conv1D
    return [kind(layer.gives[-1], int(layer.setting), padding="same")]


def _pool(layers: Any, layer: Layer) -> list[Any]:  # noqa: ANN401 - as above
    return [(layers.MaxPooling2D if len(layer.takes) == _IMAGE_AXES else layers.MaxPooling1D)(2)]


_LAYERS: Final[Mapping[str, Callable[[Any, Layer], list[Any]]]] = {
    "channels": _channels,
    "convolution": _convolution,
    "pool": _pool,
    "norm": lambda layers, _: [layers.BatchNormalization()],
    "activation": lambda layers, layer: [layers.Activation(layer.setting)],
    "dense": lambda layers, layer: [layers.Dense(layer.gives[-1])],
    "dropout": lambda layers, layer: [layers.Dropout(layer.setting)],
    "flatten": lambda layers, _: [layers.Flatten()],
}
