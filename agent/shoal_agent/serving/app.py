"""The ASGI app: the routes of the Open Inference Protocol v2 over REST (JSON)."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shoal_agent.serving.encode import describe_model
from shoal_agent.serving.infer import Choose, InferEndpoint
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.refusal import INTERNAL, UNAVAILABLE, RequestError, json_response, refuse
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.settings import ServingSettings
from shoal_contract import __version__

log = logging.getLogger(__name__)

_Handler = Callable[[Request], Awaitable[Response]]
_MODEL: Final = "/v2/models/{name}"
_VERSION: Final = "/v2/models/{name}/versions/{version}"
_INFER: Final = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


def create_app(
    server: ModelServer,
    observer: Observer,
    settings: ServingSettings = ServingSettings(),  # noqa: B008 - frozen
    choose: Choose | None = None,
) -> ASGIApp:
    """Return the app that answers for what `server` serves and shows every answer to `observer`.

    `choose` may have another version answer a request, see `shoal_agent.trials`; only what serves is described.

    Inference goes past Starlette's routing and middleware, a quarter of the time of a small request.
    """
    endpoint = InferEndpoint(server, observer, settings, choose)
    others = _describe(server)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found = _INFER.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await others(scope, receive, send)
            return
        try:
            response = await endpoint.answer(scope, receive, found[1], found[2])
        except Exception as error:
            log.exception("answering POST %s", scope["path"])
            response = _refuse_defect(f"POST {scope['path'][:80]}", error)
        await response(scope, receive, send)

    return app


def _describe(server: ModelServer) -> Starlette:
    """Return the app of everything but inference."""
    metadata = _for_model(server, lambda served: json_response(describe_model(served)))
    ready = _for_model(server, lambda served: json_response({"name": served.name, "ready": True}))
    routes = [
        Route("/v2", _describe_server, methods=["GET"]),
        Route("/v2/health/live", _live, methods=["GET"]),
        Route("/v2/health/ready", _readiness(server), methods=["GET"]),
    ]
    for path in (_MODEL, _VERSION):
        routes += [
            Route(f"{path}/infer", _only_post, methods=["GET"]),
            Route(f"{path}/ready", ready, methods=["GET"]),
            Route(path, metadata, methods=["GET"]),
        ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refuse_route, Exception: _refuse_route})


async def _describe_server(_: Request) -> Response:
    return json_response({"name": "shoal-agent", "version": __version__, "extensions": []})


async def _live(_: Request) -> Response:
    return json_response({"live": True})


def _readiness(server: ModelServer) -> _Handler:
    async def answer(_: Request) -> Response:
        if server.names():
            return json_response({"ready": True})
        body = {"ready": False, "error": "no model is served yet; roll a model out to this device"}
        return json_response(body, UNAVAILABLE)

    return answer


def _for_model(server: ModelServer, describe: Callable[[ServedModel], Response]) -> _Handler:
    """Return a handler that looks the path's model up."""

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            served = resolve(server, server.get(name), name, request.path_params.get("version"))
        except RequestError as error:
            return refuse(error)
        return describe(served)

    return answer


async def _refuse_route(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method, or a failure that nobody foresaw, as the protocol answers every error."""
    doing = f"{request.method} {request.url.path[:80]}"
    if isinstance(error, HTTPException):
        remedy = "see the Open Inference Protocol v2; its paths begin with /v2"
        return refuse(RequestError(f"{doing}: {error.detail}", error.status_code, remedy))
    return _refuse_defect(doing, error)


def _refuse_defect(doing: str, error: Exception) -> Response:
    remedy = "this is a defect of the agent; its log on the device tells more"
    return refuse(RequestError(f"{doing}: {type(error).__name__}", INTERNAL, remedy))


async def _only_post(_: Request) -> Response:
    raise HTTPException(405)
