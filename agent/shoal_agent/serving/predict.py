"""The friendly call: `POST /predict` with features, and back comes a prediction with its confidence.

For those who do not speak the Open Inference Protocol. The body, JSON, names the model unless one alone is served:
`{"features": [5.1, 3.5, 1.4, 0.2], "model_name": "iris", "version": "latest"}`. An image is sent as it is, with its own
content type and the names in the query.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import numpy as np
from pydantic_core import from_json

from shoal_agent.endpoint import Request, RequestError, Response, Route, json_response
from shoal_agent.endpoint.message import TOO_LARGE, UNPROCESSABLE, Piece
from shoal_agent.engines import NUMPY_TYPES, Array, bytes_array
from shoal_agent.processing import Prepared
from shoal_agent.serving.body import inflated
from shoal_agent.serving.declared import predictions, prepare
from shoal_agent.serving.decode import InferRequest, Wanted, check_finite, check_shape
from shoal_agent.serving.infer import KEY_HEADER, MAX_KEY_CHARS, Answer, Inference, Question
from shoal_agent.serving.models import ModelServer, ServedModel
from shoal_agent.settings import ServingSettings
from shoal_contract.manifest import TensorSpec

_FIELDS: Final = frozenset({"features", "model_name", "version", "id"})
_REMEDY: Final = 'send JSON such as {"features": [5.1, 3.5, 1.4, 0.2], "model_name": "iris"}'
_SHOWN: Final = 80
_MAX_JSON_BYTES: Final = 256 * 1024
"""Read in the event loop, to learn which model is asked."""


def predict_routes(inference: Inference) -> list[Route]:
    """Return the route of `POST /predict`."""
    server, settings = inference.server, inference.settings

    def predict(request: Request) -> Response | Awaitable[Response]:
        came_s = time.perf_counter()
        asked = _asked(request, settings.max_inflated_bytes)
        name = _text(asked, "model_name") or _only(server)
        found = asked.get("version", "latest")
        version = None if found in {"latest", None, ""} else str(found)[:_SHOWN]
        form = "image" if isinstance(asked["features"], bytes) else "features"
        question = Question(form, len(request.body), *_codec(asked, settings, came_s))
        key = request.header(KEY_HEADER)[:MAX_KEY_CHARS]
        outcome: Response | Awaitable[Response] = inference.answer(name, version, key, question)
        return outcome

    return [Route("/predict", {"POST": predict})]


def _asked(request: Request, most_bytes: int) -> dict[str, Any]:
    """Return what is asked: JSON, or an image with the rest in the query."""
    if request.header(b"content-type").partition("/")[0].strip().lower() == "image":
        named = {name: request.query(name) for name in ("model_name", "version", "id")}
        given = {name: value for name, value in named.items() if value}
        return {"features": bytes(inflated(request, most_bytes)), **given}
    if len(request.body) > _MAX_JSON_BYTES:
        message = f"POST /predict: the body is too large: {len(request.body)} bytes, at most {_MAX_JSON_BYTES} allowed"
        raise RequestError(message, TOO_LARGE, "send fewer samples, or ask by /v2/models/{name}/infer")
    return _read(inflated(request, _MAX_JSON_BYTES))


def read_features(body: Piece, served: ServedModel, settings: ServingSettings) -> InferRequest:
    """Read the body of a friendly call for a model that is known.

    Raises:
        RequestError: It is none, or not for this model.
    """
    decode, _ = _codec(_read(body), settings, 0.0)
    return decode(served)


def _read(body: Piece) -> dict[str, Any]:
    try:
        asked = from_json(bytes(body))
    except ValueError as error:
        raise RequestError(f"POST /predict: the body is not JSON: {str(error)[:_SHOWN]}", remedy=_REMEDY) from error
    if not isinstance(asked, dict) or "features" not in asked:
        raise RequestError("POST /predict: the body has no features", remedy=_REMEDY)
    unknown = sorted(set(asked) - _FIELDS)
    if unknown:
        known = ", ".join(sorted(_FIELDS))
        raise RequestError(f"POST /predict: unknown field {unknown[0][:_SHOWN]!r}, expected {known}", remedy=_REMEDY)
    return asked


def _text(asked: Mapping[str, Any], name: str) -> str:
    found = asked.get(name, "")
    if not isinstance(found, str):
        raise RequestError(f"POST /predict: {name} is {str(found)[:_SHOWN]}, expected text", remedy=_REMEDY)
    return found


def _only(server: ModelServer) -> str:
    """Return the name of the one model that is served; where none is, any name leads to that being told."""
    names = server.names()
    if len(names) > 1:
        remedy = f"name one of them as model_name: {', '.join(names)}"
        raise RequestError(f"POST /predict: {len(names)} models are served, and none is named", remedy=remedy)
    return names[0] if names else "any"


def _is_one(features: object) -> bool:
    """Whether the features are those of one sample: an image, a mapping or a flat list."""
    return not isinstance(features, list) or not any(type(one) in {list, dict} for one in features)


def _codec(
    asked: Mapping[str, Any], settings: ServingSettings, came_s: float
) -> tuple[Callable[[ServedModel], InferRequest], Callable[[InferRequest, Answer], Response]]:
    """Return what reads the features for the model that answers, and what writes its answer."""
    request_id, features = _text(asked, "id") or None, asked["features"]
    prepared: list[Prepared] = []

    def decode(served: ServedModel) -> InferRequest:
        prepared.clear()
        if served.manifest.processing is not None or isinstance(features, bytes):
            prepared.append(prepare(features, served.manifest))
            inputs = prepared[0].inputs
        else:
            inputs = _inputs(features, served)
        for name, array in inputs.items():
            if not settings.allow_non_finite:
                check_finite(array, name)
        wanted = tuple(Wanted(spec.name, is_binary=False) for spec in served.engine.outputs)
        return InferRequest(request_id, inputs, wanted)

    def encode(_: InferRequest, answer: Answer) -> Response:
        served = answer.served
        shown = predictions(answer.outputs, prepared[0], served.manifest) if prepared else _predictions(answer)
        about = {
            "model_name": served.name,
            "model_version": str(served.version),
            "id": answer.id,
            "inference_time_ms": round((time.perf_counter() - came_s) * 1000, 3),
        }
        if _is_one(features) and len(shown) == 1:
            return json_response(shown[0] | about)
        return json_response({"predictions": shown} | about)

    return decode, encode


def _inputs(features: object, served: ServedModel) -> dict[str, Array]:
    """Return the model's inputs: by their names, by the features' names, or in the order of the only input."""
    specs = served.engine.inputs
    read = _tensor if served.manifest.is_batched else _whole_tensor
    if isinstance(features, dict) and set(features) == {spec.name for spec in specs}:
        return {spec.name: read(features[spec.name], spec) for spec in specs}
    if len(specs) > 1:
        names = ", ".join(spec.name for spec in specs)
        raise RequestError(f"features: model {served.name!r} takes several inputs; give each by name: {names}")
    if isinstance(features, dict):
        names_in_order = [one.name for one in served.manifest.baseline.features]
        wrong = set(features).symmetric_difference(names_in_order)
        if wrong:
            found = ", ".join(sorted(map(str, wrong))[:5])
            remedy = f"give a value for each of: {', '.join(names_in_order)[:500]}"
            raise RequestError(f"features: missing or unknown: {found[:_SHOWN]}", remedy=remedy)
        features = [features[name] for name in names_in_order]
    return {specs[0].name: read(features, specs[0])}


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
        raise RequestError(message)
    return array.reshape((array.size // sample, *one[1:]) if spec.shape[:1] == (-1,) else one)


def _numbers(values: object, spec: TensorSpec) -> Array:
    try:
        return _array(values, NUMPY_TYPES[spec.datatype])
    except (ValueError, TypeError, OverflowError) as error:
        message = f"features for input {spec.name!r}: expected {spec.datatype}, in lists of equal lengths"
        raise RequestError(message, remedy=_REMEDY) from error


def _array(values: object, kind: "np.dtype[Any]") -> Array:
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


def _predictions(answer: Answer) -> list[dict[str, Any]]:
    """Return what the first output says of each sample."""
    manifest = answer.served.manifest
    output = answer.outputs[manifest.outputs[0].name]
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
        values = output.reshape(len(output), -1) if output.ndim else output.reshape(1, 1)
        return [{"prediction": row[0] if len(row) == 1 else row, "confidence": None} for row in values.tolist()]
    labels = rows.argmax(axis=1).tolist()
    confidences = rows.max(axis=1).tolist()
    names = manifest.labels
    return [
        {"prediction": names[label] if len(names) == classes else label, "label": label, "confidence": confidence}
        for label, confidence in zip(labels, confidences, strict=True)
    ]
