"""Builds the same network in tf_keras (Keras 2), which is all that tensorflow-model-optimization works on.

The architecture is read from the `.keras` file, the weights are copied layer by layer, and the outputs of both are
compared: what the two generations of Keras compute differently is refused, not trained.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.keras_file import answers, config_of, open_keras
from shoal_compression.model import Model
from shoal_compression.quieting import quiet
from shoal_compression.tensorflow_runtime import load_keras, load_tf_keras
from shoal_numerics.tensors import Array

LARGEST_DIFFERENCE: Final = 1e-4
"""Of an output, relative to the largest one: float32 summed in another order, and nothing more."""
COMPARED: Final = 8
"""Samples on which both are compared."""
DOING: Final = "building the network in tf_keras"
INSTEAD: Final = "use a technique for ONNX after to-onnx, or post-training quantization"
Key = tuple[str, int, int]
"""Layer, which of its calls, which of the outputs of that call."""


def twin_of(model: Model, samples: Samples) -> Any:  # noqa: ANN401 - a tf_keras.Model; it has no types
    """Return the network in tf_keras with the same names of layers, and weights, as the Keras file.

    Raises:
        TechniqueError: A layer or parameter is not known there, or both compute another result for `samples`.
    """
    tf_keras = load_tf_keras()
    tf_keras.backend.reset_uids()  # names that tf_keras makes up go into files, and must not count on
    config = config_of(model.content)
    with quiet():
        try:
            network = _network(config, tf_keras)
        except (TypeError, ValueError) as error:
            raise TechniqueError(f"{DOING}: {str(error)[:500]}; {INSTEAD}") from error
        source = open_keras(model)
        for layer in source.layers:
            _copy(layer, network)
        _compare(source, network, model, samples)
    return network


def arrays_of(network: Any) -> dict[str, list[Array]]:  # noqa: ANN401 - as above
    """Return the weights of a twin by the name of the layer."""
    return {layer.name: layer.get_weights() for layer in network.layers if layer.get_weights()}


def _network(config: Mapping[str, Any], tf_keras: Any) -> Any:  # noqa: ANN401 - as above
    kind, inner = config["class_name"], config["config"]
    if kind == "Sequential":
        return tf_keras.Sequential([_layer(one, tf_keras) for one in inner["layers"]], name=inner["name"])
    if kind != "Functional":
        found = f"a model of class {kind} found, expected Sequential or Functional"
        raise TechniqueError(f"{DOING}: {found}; {INSTEAD}")
    tensors = _called(inner["layers"], tf_keras)
    ends = [[tensors[key] for key in _keys(inner[part])] for part in ("input_layers", "output_layers")]
    inputs, outputs = (end[0] if len(end) == 1 else end for end in ends)
    return tf_keras.Model(inputs, outputs, name=inner["name"])


def _called(layers: list[dict[str, Any]], tf_keras: Any) -> dict[Key, Any]:  # noqa: ANN401 - as above
    """Call each layer as the file says, whatever the order in which it lists them."""
    made = {one["config"]["name"]: _layer(one, tf_keras) for one in layers}
    tensors: dict[Key, Any] = {
        (one["config"]["name"], 0, 0): made[one["config"]["name"]].output
        for one in layers
        if one["class_name"] == "InputLayer"
    }
    waiting = [(one["config"]["name"], at, node) for one in layers for at, node in enumerate(one["inbound_nodes"])]
    while waiting:
        ready = [call for call in waiting if set(_histories(call[2])) <= tensors.keys()]
        if not ready:
            raise TechniqueError(f"{DOING}: the inputs of the layer {waiting[0][0]} come from nowhere; {INSTEAD}")
        for name, at, node in ready:
            args, kwargs = (_filled(node[part], tensors) for part in ("args", "kwargs"))
            answer = made[name](*args, **kwargs)
            parts = answer if isinstance(answer, list | tuple) else [answer]
            tensors.update({(name, at, place): part for place, part in enumerate(parts)})
        waiting = [call for call in waiting if call not in ready]
    return tensors


def _keys(ends: list[Any]) -> list[Key]:
    """Return inputs or outputs of a model, which the file lists singly where there is one."""
    each = [ends] if ends and isinstance(ends[0], str) else ends
    return [(str(name), int(at), int(place)) for name, at, place in each]


def _histories(part: object) -> Iterator[Key]:
    if isinstance(part, dict) and part.get("class_name") == "__keras_tensor__":
        name, at, place = part["config"]["keras_history"]
        yield (name, at, place)
    elif isinstance(part, dict):
        for inner in part.values():
            yield from _histories(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _histories(inner)


def _filled(part: Any, tensors: Mapping[Key, Any]) -> Any:  # noqa: ANN401 - JSON, or tensors in place of it
    if isinstance(part, dict) and part.get("class_name") == "__keras_tensor__":
        name, at, place = part["config"]["keras_history"]
        return tensors[name, at, place]
    if isinstance(part, dict):
        return {name: _filled(inner, tensors) for name, inner in part.items() if inner is not None}
    return [_filled(inner, tensors) for inner in part] if isinstance(part, list) else part


def _layer(about: Mapping[str, Any], tf_keras: Any) -> Any:  # noqa: ANN401 - as above
    kind, name = about["class_name"], about["config"].get("name", "?")
    made_by = getattr(tf_keras.layers, kind, None)
    if made_by is None or about["module"] != "keras.layers":
        found = f"{name} is a {kind} of {about['module']}, which tf_keras does not have as a layer"
        raise TechniqueError(
            f"{DOING}: {found}; write it with layers that it has (keras.layers.Add for +), or {INSTEAD}"
        )
    settings = dict(about["config"])
    if kind == "InputLayer":
        shape, datatype = settings["batch_shape"], settings["dtype"]
        return made_by(batch_input_shape=shape, dtype=datatype, name=name)
    known = _parameters(made_by)
    kept = {key: _value(value, tf_keras) for key, value in settings.items() if key in known and _is_kept(key)}
    lost = sorted(key for key, value in settings.items() if key not in known and not _is_default(kind, key, value))
    if lost:
        raise TechniqueError(f"{DOING}: {name} is a {kind} with {lost}, which tf_keras does not know; {INSTEAD}")
    return made_by(**kept)


def _is_kept(key: str) -> bool:
    return key != "dtype" and not key.endswith("_initializer")  # weights are copied


def _value(value: Any, tf_keras: Any) -> Any:  # noqa: ANN401 - JSON, or what it describes
    """Build what a parameter describes: a layer inside of a layer, a regularizer, a constraint."""
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    if value["module"] == "keras.layers":
        return _layer(value, tf_keras)
    plain = {"class_name": value["class_name"], "config": value["config"]}
    places = {"keras.regularizers": tf_keras.regularizers, "keras.constraints": tf_keras.constraints}
    if value["module"] not in places:
        raise TechniqueError(f"{DOING}: a {value['class_name']} of {value['module']} is a parameter; {INSTEAD}")
    return places[value["module"]].deserialize(plain)


def _parameters(made_by: type) -> set[str]:
    inits = [vars(one)["__init__"] for one in made_by.__mro__ if "__init__" in vars(one)]
    return {name for init in inits for name in inspect.signature(init).parameters} | {"name", "trainable", "dtype"}


def _is_default(kind: str, key: str, value: object) -> bool:
    """Say whether Keras 3 has that value by default, so that tf_keras may do without the parameter."""
    if key.endswith("_initializer"):
        return True
    parameters = inspect.signature(getattr(load_keras().layers, kind).__init__).parameters
    return value is None or (key in parameters and value == parameters[key].default)


def _copy(layer: Any, network: Any) -> None:  # noqa: ANN401 - as above
    weights = layer.get_weights()
    if not weights:
        return
    try:
        network.get_layer(layer.name).set_weights(weights)
    except ValueError as error:
        found = f"the weights of {layer.name} do not fit: {str(error)[:300]}"
        raise TechniqueError(f"{DOING}: {found}; {INSTEAD}") from error


def _compare(source: Any, network: Any, model: Model, samples: Samples) -> None:  # noqa: ANN401 - as above
    few = samples.first(COMPARED if model.is_batched else 1)
    feeds = next(few.feeds(model, COMPARED))
    arrays = [feeds[spec.name] for spec in model.inputs]
    for expected, found in zip(answers(source, arrays), answers(network, arrays), strict=True):
        largest = float(np.abs(expected).max())
        difference = float(np.abs(np.asarray(expected) - np.asarray(found)).max()) / max(largest, 1e-12)
        if not difference <= LARGEST_DIFFERENCE:
            msg = f"{DOING}: outputs differ by {difference:.1e} of the largest, at most {LARGEST_DIFFERENCE:g} expected"
            raise TechniqueError(f"{msg}: a layer computes otherwise there; {INSTEAD}")
