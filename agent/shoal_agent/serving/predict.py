"""The friendly call: `POST /predict` with features, and back comes a prediction with its confidence.

For those who do not speak the Open Inference Protocol. The body, JSON, names the model unless one alone is served:
`{"features": [5.1, 3.5, 1.4, 0.2], "model_name": "iris", "version": "latest"}`. In place of features, `entity_id` names
what the device itself keeps features of. An image is sent as it is, with its own content type and the names in the
query.
"""

from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from anyio import to_thread
from pydantic_core import from_json

from shoal_agent.endpoint import Handler, Request, RequestError, Response, Route, json_response
from shoal_agent.endpoint.message import TOO_LARGE, UNAVAILABLE, UNPROCESSABLE, Piece
from shoal_agent.serving.body import inflated
from shoal_agent.serving.decode import InferRequest
from shoal_agent.serving.entities import Entity, EntityValue, ReadEntity
from shoal_agent.serving.friendly import REMEDY, FriendlyCall
from shoal_agent.serving.infer import KEY_HEADER, MAX_KEY_CHARS, Answer, Inference, Question, timeout_of
from shoal_agent.serving.models import ServedModel
from shoal_agent.serving.passing import Asked, PassOn, stay_here
from shoal_agent.settings import ServingSettings

_FIELDS: Final = frozenset({"features", "entity_id", "model_name", "version", "id"})
_SHOWN: Final = 80
_MAX_JSON_BYTES: Final = 256 * 1024
"""Read in the event loop, to learn which model is asked."""


def predict_routes(
    inference: Inference, read_entity: ReadEntity | None = None, pass_on: PassOn = stay_here
) -> list[Route]:
    """Return the route of `POST /predict`.

    Args:
        inference: Has the models answer.
        read_entity: Gives the features that the device keeps, if it keeps any.
        pass_on: May have another device answer.
    """
    read_entity = read_entity or _read_none

    def predict(request: Request) -> Response | Awaitable[Response]:
        asked = _asked(request, inference.settings.max_inflated_bytes)
        if "entity_id" in asked:
            return _predict_entity(inference, request, asked, read_entity)
        return _predict(inference, request, asked, _form(asked))

    return [Route("/predict", {"POST": pass_on(predict, partial(_asked_model, inference))})]


def predict_handler(inference: Inference) -> Handler:
    """Return what answers a friendly call that another device has passed on, for the version in its path."""

    def predict(request: Request) -> Response | Awaitable[Response]:
        asked = _asked(request, inference.settings.max_inflated_bytes)
        if "entity_id" in asked:
            message = "what is known of an entity is known to the device that was asked alone"
            raise RequestError(message, UNPROCESSABLE, "send the features themselves")
        params = request.params
        named = {"model_name": params["name"], "version": params["version"]}
        return _predict(inference, request, asked | named, _form(asked))

    return predict


def _asked_model(inference: Inference, request: Request) -> Asked | None:
    """Return whom a call asks; None where it is of an entity, or says what this device has to answer."""
    try:
        # An image is not inflated to learn who is asked: that stands in the query.
        is_image = _is_image(request)
        asked = _named(request) if is_image else _asked(request, inference.settings.max_inflated_bytes)
        if "entity_id" in asked:
            return None
        return Asked("predict", _model_of(inference, asked), wanted_version(asked.get("version")))
    except RequestError:  # it is read again here, and the asker gets the error
        return None


def _form(asked: Mapping[str, Any]) -> str:
    return "image" if isinstance(asked["features"], bytes) else "features"


def _model_of(inference: Inference, asked: Mapping[str, Any]) -> str:
    server = inference.server
    return _text(asked, "model_name") or only_model(sorted({*server.names(), *server.absent()}))


def _predict(
    inference: Inference, request: Request, asked: Mapping[str, Any], form: str
) -> Response | Awaitable[Response]:
    name = _model_of(inference, asked)
    call = FriendlyCall(asked["features"], _text(asked, "id") or None, inference.settings)

    def encode(read: InferRequest, answer: Answer) -> Response:
        return json_response(call.say(read, answer))

    question = Question(form, len(request.body), call.decode, encode, timeout_s=timeout_of(request))
    key = request.header(KEY_HEADER)[:MAX_KEY_CHARS]
    version = wanted_version(asked.get("version"))
    outcome: Response | Awaitable[Response] = inference.answer(name, version, key, question)
    return outcome


async def _predict_entity(
    inference: Inference, request: Request, asked: Mapping[str, Any], read_entity: ReadEntity
) -> Response:
    entity = _text(asked, "entity_id")
    features = Entity(entity, await to_thread.run_sync(read_entity, entity))
    outcome = _predict(inference, request, {**asked, "features": features}, "entity")
    return outcome if isinstance(outcome, Response) else await outcome


def _read_none(entity: str) -> Mapping[str, EntityValue]:
    message = f"reading the features of entity {entity[:_SHOWN]!r}: none are kept here"
    raise RequestError(message, UNAVAILABLE, "send the features themselves")


def _asked(request: Request, most_bytes: int) -> dict[str, Any]:
    """Return what is asked: JSON, or an image with the rest in the query."""
    if _is_image(request):
        return {"features": bytes(inflated(request, most_bytes)), **_named(request)}
    if len(request.body) > _MAX_JSON_BYTES:
        message = f"POST /predict: the body is too large: {len(request.body)} bytes, at most {_MAX_JSON_BYTES} allowed"
        raise RequestError(message, TOO_LARGE, "send fewer samples, or ask by /v2/models/{name}/infer")
    return _read(inflated(request, _MAX_JSON_BYTES))


def _is_image(request: Request) -> bool:
    return request.header(b"content-type").partition("/")[0].strip().lower() == "image"


def _named(request: Request) -> dict[str, Any]:
    given = {name: request.query(name) for name in ("model_name", "version", "id")}
    return {name: value for name, value in given.items() if value}


def read_features(body: Piece, served: ServedModel, settings: ServingSettings) -> InferRequest:
    """Read the body of a friendly call for a model that is known.

    Raises:
        RequestError: It is none, or not for this model.
    """
    asked = _read(body)
    return FriendlyCall(asked.get("features"), _text(asked, "id") or None, settings).decode(served)


def _read(body: Piece) -> dict[str, Any]:
    try:
        asked = from_json(bytes(body))
    except ValueError as error:
        raise RequestError(f"POST /predict: the body is not JSON: {str(error)[:_SHOWN]}", remedy=REMEDY) from error
    if not isinstance(asked, dict) or not {"features", "entity_id"} & asked.keys():
        raise RequestError("POST /predict: the body has no features", remedy=REMEDY)
    if {"features", "entity_id"} <= asked.keys():
        message = "POST /predict: the body has both features and an entity_id"
        raise RequestError(message, UNPROCESSABLE, "send the features, or the id of the entity that the device knows")
    unknown = sorted(set(asked) - _FIELDS)
    if unknown:
        known = ", ".join(sorted(_FIELDS))
        raise RequestError(f"POST /predict: unknown field {unknown[0][:_SHOWN]!r}, expected {known}", remedy=REMEDY)
    return asked


def _text(asked: Mapping[str, Any], name: str) -> str:
    found = asked.get(name, "")
    if not isinstance(found, str):
        raise RequestError(f"POST /predict: {name} is {str(found)[:_SHOWN]}, expected text", remedy=REMEDY)
    return found


def only_model(names: Sequence[str]) -> str:
    """Return the name of the one model that is served; where none is, any name leads to that being told.

    Raises:
        RequestError: Several are.
    """
    if len(names) > 1:
        remedy = f"name one of them as model_name: {', '.join(names)}"
        raise RequestError(f"POST /predict: {len(names)} models are served, and none is named", remedy=remedy)
    return names[0] if names else "any"


def wanted_version(found: object) -> str | None:
    """Return the version that a call names; None: what serves."""
    return None if found in ("latest", None, "") else str(found)[:_SHOWN]  # a list has no hash
