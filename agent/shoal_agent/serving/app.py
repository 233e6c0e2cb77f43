"""The ASGI app: the routes of the Open Inference Protocol v2 over REST (JSON)."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shoal_agent.serving.encode import describe_model
from shoal_agent.serving.infer import InferEndpoint
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.refusal import INTERNAL, UNAVAILABLE, RequestError, json_response, refuse
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.settings import ServingSettings
from shoal_contract import __version__

_Handler = Callable[[Request], Awaitable[Response]]
_MODEL = "/v2/models/{name}"
_VERSION = "/v2/models/{name}/versions/{version}"


def create_app(
    server: ModelServer,
    observer: Observer,
    settings: ServingSettings = ServingSettings(),  # noqa: B008 - frozen
) -> Starlette:
    """Return the app that answers for what `server` serves and shows every answer to `observer`."""
    infer = InferEndpoint(server, observer, settings)
    metadata = _for_model(server, lambda served: json_response(describe_model(served)))
    ready = _for_model(server, lambda served: json_response({"name": served.name, "ready": True}))
    routes = [
        Route("/v2", _describe_server, methods=["GET"]),
        Route("/v2/health/live", _live, methods=["GET"]),
        Route("/v2/health/ready", _readiness(server), methods=["GET"]),
    ]
    for path in (_MODEL, _VERSION):
        routes += [
            Route(f"{path}/infer", infer.__call__, methods=["POST"]),
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
    # A defect: uvicorn writes the traceback to the agent's log.
    remedy = "this is a defect of the agent; its log on the device tells more"
    return refuse(RequestError(f"{doing}: {type(error).__name__}", INTERNAL, remedy))
