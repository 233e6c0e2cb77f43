"""The friendly call for the model that answers: from features to its inputs, from its outputs to a prediction."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import UNPROCESSABLE
from shoal_agent.engines import NUMPY_TYPES, Array, bytes_array
from shoal_agent.processing import Prepared
from shoal_agent.serving.declared import predictions, prepare
from shoal_agent.serving.decode import InferRequest, Wanted, check_finite, check_shape
from shoal_agent.serving.entities import Chosen, Entity, shown
from shoal_agent.serving.infer import Answer
from shoal_agent.serving.models import ServedModel
from shoal_agent.serving.parameters import answerers
from shoal_agent.settings import ServingSettings
from shoal_contract.manifest import TensorSpec
from shoal_contract.telemetry import Misfit

REMEDY: Final = 'send JSON such as {"features": [5.1, 3.5, 1.4, 0.2], "model_name": "iris"}'

_SHOWN: Final = 80


class FriendlyCall:
    """One call, on its way to the model that answers and back.

    Args:
        features: Those of one sample, or a list of several; an image's bytes; or an entity.
        request_id: What its asker calls it.
        settings: Bounds.
    """

    def __init__(self, features: object, request_id: str | None, settings: ServingSettings) -> None:
        self._features = features
        self._request_id = request_id
        self._settings = settings
        self._came_s = time.perf_counter()
        self._prepared: Prepared | None = None
        self._chosen: Chosen | None = None

    def decode(self, served: ServedModel) -> InferRequest:
        """Return the inputs of a model.

        Raises:
            RequestError: The features are not for this model.
        """
        features, manifest = self._features, served.manifest
        self._prepared = self._chosen = None
        if isinstance(features, Entity):
            self._chosen = features.choose(manifest)
            features = self._chosen.features
        if manifest.processing is not None or isinstance(features, bytes):
            self._prepared = prepare(features, manifest)
            inputs = self._prepared.inputs
        else:
            inputs = _inputs(features, served)
        if not self._settings.allow_non_finite:
            for name, array in inputs.items():
                check_finite(array, name)
        wanted = tuple(Wanted(spec.name, is_binary=False) for spec in served.engine.outputs)
        return InferRequest(self._request_id, inputs, wanted)

    def say(self, _: InferRequest, answer: Answer) -> dict[str, Any]:
        """Return what is answered.

        Raises:
            RequestError: The model answered what has no meaning.
        """
        served = answer.served
        if self._prepared is not None:
            said = predictions(answer.outputs, self._prepared, served.manifest)
        else:
            said = predictions_of(served, answer.outputs)
        by = answerers(served, answer.outputs)
        if by is not None and len(by) == len(said):
            said = [one | {"answered_by": name} for one, name in zip(said, by, strict=True)]
        about = {
            "model_name": served.name,
            "model_version": str(served.version),
            "id": answer.id,
            "inference_time_ms": round((time.perf_counter() - self._came_s) * 1000, 3),
        }
        if isinstance(self._features, Entity) and self._chosen is not None:
            about |= shown(self._features, self._chosen)
        if len(said) == 1 and _is_one(self._features):
            return said[0] | about
        return {"predictions": said} | about


def _is_one(features: object) -> bool:
    """Whether the features are those of one sample: an image, a mapping or a flat list."""
    return not isinstance(features, list) or not any(type(one) in {list, dict} for one in features)


def _inputs(features: object, served: ServedModel) -> dict[str, Array]:
    """Return the model's inputs: by their names, by the features' names, or in the order of the only input."""
    specs = served.engine.inputs
    read = _tensor if served.manifest.is_batched else _whole_tensor
    if isinstance(features, dict) and set(features) == {spec.name for spec in specs}:
        return {spec.name: read(features[spec.name], spec) for spec in specs}
    if len(specs) > 1:
        names = ", ".join(spec.name for spec in specs)
        message = f"features: model {served.name!r} takes several inputs; give each by name: {names}"
        raise RequestError(message, misfit=_misfit(features, [spec.name for spec in specs]))
    if isinstance(features, dict):
        names_in_order = [one.name for one in served.manifest.baseline.features]
        wrong = set(features).symmetric_difference(names_in_order)
        if wrong:
            found = ", ".join(sorted(map(str, wrong))[:5])
            remedy = f"give a value for each of: {', '.join(names_in_order)[:500]}"
            misfit = _misfit(features, names_in_order)
            raise RequestError(f"features: missing or unknown: {found[:_SHOWN]}", remedy=remedy, misfit=misfit)
        features = [features[name] for name in names_in_order]
    return {specs[0].name: read(features, specs[0])}


def _misfit(features: object, expected: Sequence[str]) -> Misfit:
    """Return whether a feature is missing or, where none is, one too many was given."""
    given = set(features) if isinstance(features, dict) else set()
    return "missing" if set(expected) - given else "extra"


def _whole_tensor(values: object, spec: TensorSpec) -> Array:
    """Return an input of a request that is one sample: nested as its shape says, or flat where its sizes are known."""
    array = _numbers(values, spec)
    if array.ndim <= 1 and -1 not in spec.shape and array.size == math.prod(spec.shape):
        return array.reshape(spec.shape)
    check_shape(list(array.shape), spec, f"features for input {spec.name!r}")
    return array


def _tensor(values: object, spec: TensorSpec) -> Array:
    """Return one sample, or as many as there are rows, as the model's input."""
    array = _numbers(values, spec)
    one = tuple(1 if size == -1 else size for size in spec.shape)
    sample = math.prod(one[1:]) if spec.shape and spec.shape[0] == -1 else math.prod(one)
    if array.size == 0 or array.size % sample or (array.size != sample and spec.shape[:1] != (-1,)):
        message = f"features for input {spec.name!r}: {array.size} values found, expected {sample} for each sample"
        raise RequestError(message, misfit="reshaped")
    return array.reshape((array.size // sample, *one[1:]) if spec.shape[:1] == (-1,) else one)


def _numbers(values: object, spec: TensorSpec) -> Array:
    try:
        return _array(values, NUMPY_TYPES[spec.datatype])
    except (ValueError, TypeError, OverflowError) as error:
        message = f"features for input {spec.name!r}: expected {spec.datatype}, in lists of equal lengths"
        raise RequestError(message, remedy=REMEDY, misfit="retyped") from error


def _array(values: object, kind: np.dtype[Any]) -> Array:
    if kind.kind == "O":
        flat = np.array(values, dtype=np.object_).ravel()
        if not all(isinstance(one, str) for one in flat):
            raise TypeError
        return bytes_array([one.encode() for one in flat])
    array = np.array(values)
    allowed = {"b": "b", "f": "iuf", "i": "iu", "u": "iu"}[kind.kind]
    if array.dtype.kind not in allowed:
        raise TypeError
    with np.errstate(over="ignore"):
        converted = array.astype(kind)
    if kind.kind in "iu" and not (converted == array).all():
        raise OverflowError
    return converted


def predictions_of(served: ServedModel, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Return what the first output says of each sample, where nothing is declared of it.

    Raises:
        RequestError: It says NaN or infinity.
    """
    manifest = served.manifest
    output = outputs[manifest.outputs[0].name]
    if output.dtype.kind == "O":
        texts = [element.decode("utf-8", "replace") for element in output.ravel()]
        return [{"prediction": text, "confidence": None} for text in texts]
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        message = "the model answered NaN or infinity for these features"
        raise RequestError(message, UNPROCESSABLE, "check that they are of the kind the model was trained on")
    # Of more labels than are watched, the baseline counts none.
    known = len(manifest.labels) if output.shape[1:] == (len(manifest.labels),) else 0
    classes = len(manifest.baseline.predictions) or known
    rows = output.reshape(-1, classes) if classes > 1 and output.size % classes == 0 else None
    if rows is None:  # no classes to choose from: the numbers themselves
        if not output.size:
            return [{"prediction": [], "confidence": None}] * (len(output) if output.ndim else 1)
        values = output.reshape(len(output), -1) if output.ndim else output.reshape(1, 1)
        return [{"prediction": row[0] if len(row) == 1 else row, "confidence": None} for row in values.tolist()]
    labels = rows.argmax(axis=1).tolist()
    confidences = rows.max(axis=1).tolist()
    names = manifest.labels
    return [
        {"prediction": names[label] if len(names) == classes else label, "label": label, "confidence": confidence}
        for label, confidence in zip(labels, confidences, strict=True)
    ]
