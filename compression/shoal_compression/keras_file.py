"""Reads and writes `.keras` files: a zip of the architecture (JSON), the weights (HDF5) and the versions.

What is written again keeps the architecture of the file that was read, byte for byte: Keras would put the addresses of
its objects and the time of day into it.
"""

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_compression.errors import SourceError
from shoal_compression.model import Model
from shoal_compression.quieting import quiet
from shoal_compression.tensorflow_runtime import load_keras
from shoal_numerics.tensors import Array

CONFIG: Final = "config.json"
METADATA: Final = "metadata.json"
WEIGHTS: Final = "model.weights.h5"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state."""


def check_keras(content: bytes) -> None:
    """See that a file has layers of Keras alone, and finite weights. Needs no TensorFlow.

    Raises:
        SourceError: It is none, has a layer or function of another origin, or a weight that is NaN or infinite.
    """
    config = config_of(content)
    for name, kind, origin in _strangers(config, str(config.get("class_name", "model"))):
        found = f"{name} is a {kind} of {origin}, expected layers and functions of Keras"
        raise SourceError(f"reading a Keras model: {found}; build it from Keras layers, or bring the model as ONNX")
    import h5py

    with _opened(content) as archive, h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as weights:
        for name, values in _arrays(weights):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                found = f"the weight {name} has nan or infinity in {int((~np.isfinite(values)).sum())} places"
                raise SourceError(f"reading a Keras model: {found}; train it again, with a lower learning rate")


def config_of(content: bytes) -> dict[str, Any]:
    """Return the architecture as Keras has written it.

    Raises:
        SourceError: The file is no `.keras` file.
    """
    with _opened(content) as archive:
        config: dict[str, Any] = json.loads(archive.read(CONFIG))
    return config


def open_keras(model: Model) -> Any:  # noqa: ANN401 - a keras.Model; Keras has no types
    """Return the network, not compiled; what it would have to run as code is refused.

    Raises:
        SourceError: Keras does not load it.
    """
    keras = load_keras()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(model.content)
        try:
            with quiet():
                return keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises TypeError, ValueError and what its layers raise
            msg = f"reading a Keras model: {str(error)[:500]}"
            raise SourceError(f"{msg}; save it with keras {keras.__version__}, from Keras layers") from error


def answers(network: Any, arrays: Sequence[Any]) -> list[Any]:  # noqa: ANN401 - as above
    """Return the outputs of a network of either Keras, in order, for inputs in order."""
    keras = load_keras()
    made = network(arrays[0] if len(arrays) == 1 else list(arrays), training=False)
    return list(keras.tree.flatten(made))


def with_arrays(model: Model, arrays: Mapping[str, Sequence[Array]], precision: str) -> Model:
    """Return the model with other weights, by the name of the layer.

    Args:
        model: A `.keras` file.
        arrays: Of each layer all that `get_weights` lists, in its order, shapes and datatypes.
        precision: Of what is made.

    Raises:
        SourceError: Keras does not load the model.
    """
    network = open_keras(model)
    for name, values in arrays.items():
        network.get_layer(name).set_weights(list(values))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        with quiet():
            network.save(path)
        with _opened(path.read_bytes()) as saved:
            weights = saved.read(WEIGHTS)
    with _opened(model.content) as source:
        parts = {METADATA: source.read(METADATA), CONFIG: source.read(CONFIG), WEIGHTS: weights}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), part)
    return model.with_content(written.getvalue(), precision=precision)


def _opened(content: bytes) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise SourceError(f"reading a Keras model: {error}; save the model with keras 3 as .keras") from error
    missing = {CONFIG, METADATA, WEIGHTS} - set(archive.namelist())
    if missing:
        raise SourceError(f"reading a Keras model: no {sorted(missing)} inside; save the model with keras 3 as .keras")
    return archive


def _strangers(config: object, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield what is not of Keras: the layer where it is, its class and where that came from."""
    if isinstance(config, list):
        for part in config:
            yield from _strangers(part, name)
    if not isinstance(config, dict):
        return
    kind, origin, inner = config.get("class_name"), config.get("module"), config.get("config")
    if isinstance(kind, str) and isinstance(inner, dict) and isinstance(inner.get("name"), str):
        name = inner["name"]
    if isinstance(kind, str) and not kind.startswith("__") and "module" in config:
        is_code = kind in {"function", "Lambda"} and config.get("module") in {"builtins", "keras.layers"}
        if is_code or not str(origin).startswith(("keras", "builtins")):
            yield name, kind, str(config.get("registered_name") or origin)
    for part in config.values():
        yield from _strangers(part, name)


def _arrays(group: Any, path: str = "") -> Iterator[tuple[str, Array]]:  # noqa: ANN401 - h5py has no types
    import h5py

    for name in sorted(group):
        part = group[name]
        if isinstance(part, h5py.Dataset):
            yield f"{path}{name}", np.asarray(part)
        else:
            yield from _arrays(part, f"{path}{name}/")
