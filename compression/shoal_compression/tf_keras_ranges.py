"""Sets where the ranges of quantization-aware training begin: at what the float network reaches on samples."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.tensorflow_runtime import load_tf_keras
from shoal_numerics.tensors import Array

PREFIX: Final = "quant_"
"""Of the layers that tfmot wraps."""


class _Range(NamedTuple):
    low: float
    high: float

    @classmethod
    def of(cls, values: Any) -> "_Range":  # noqa: ANN401 - an array or a tensor
        """Return the range of values, with zero in it: the kernels need to represent it exactly."""
        array = np.asarray(values)
        return cls(min(0.0, float(array.min())), max(0.0, float(array.max())))


def begin_ranges(quantized: Any, network: Any, model: Model, samples: Samples) -> None:  # noqa: ANN401 - no types
    """Set the ranges of activations of a network wrapped by tfmot, in place, by what `network` reaches on the samples.

    tfmot begins at -6 to 6 and moves by a thousandth a step, which a short training never gets away from.
    """
    feeds = next(samples.feeds(model, len(samples)))
    inputs = [feeds[spec.name] for spec in model.inputs]
    outputs = _outputs(network, inputs)
    for layer in quantized.layers:
        name = layer.name.removeprefix(PREFIX)
        if type(layer).__name__ == "QuantizeLayer":
            _set(layer, {"": _Range.of(inputs[0])})
        elif layer.name != name and name in outputs:
            found = _Range.of(outputs[name])
            inner = _before_activation(network, name, inputs) if _has(layer, "pre_activation") else None
            _set(layer, {"post_activation": found, "output": found} | ({"pre_activation": inner} if inner else {}))


def _outputs(network: Any, inputs: list[Array]) -> dict[str, Any]:  # noqa: ANN401 - as above
    names = [layer.name for layer in network.layers if not isinstance(layer.output, list)]
    probe = load_tf_keras().Model(network.inputs, [network.get_layer(name).output for name in names])
    made = probe(inputs[0] if len(inputs) == 1 else inputs, training=False)
    return dict(zip(names, made if len(names) > 1 else [made], strict=True))


def _before_activation(network: Any, name: str, inputs: list[Array]) -> _Range:  # noqa: ANN401 - as above
    tf_keras = load_tf_keras()
    layer = network.get_layer(name)
    reached = tf_keras.Model(network.inputs, layer.input)(inputs[0] if len(inputs) == 1 else inputs, training=False)
    activation = layer.activation
    layer.activation = tf_keras.activations.linear
    try:
        return _Range.of(layer(reached))
    finally:
        layer.activation = activation


def _has(layer: Any, kind: str) -> bool:  # noqa: ANN401 - as above
    return any(f"/{kind}_" in variable.name for variable in layer.weights)


def _set(layer: Any, ranges: Mapping[str, _Range]) -> None:  # noqa: ANN401 - as above
    for variable in layer.weights:
        end = variable.name.rsplit("/", 1)[-1].split(":", maxsplit=1)[0]
        for kind, found in ranges.items():
            if end == f"{kind}_min" or (not kind and end.endswith("_min")):
                variable.assign(found.low)
            if end == f"{kind}_max" or (not kind and end.endswith("_max")):
                variable.assign(found.high)
