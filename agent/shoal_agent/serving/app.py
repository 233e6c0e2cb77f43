"""The routes of the Open Inference Protocol v2 over REST, with its extensions."""

from collections.abc import Callable, Sequence
from typing import Final

from shoal_agent.endpoint import Request, Response, Route, Router, json_response
from shoal_agent.endpoint.message import UNAVAILABLE
from shoal_agent.serving.admission import Admission
from shoal_agent.serving.encode import describe_model
from shoal_agent.serving.infer import Choose, InferEndpoint
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.repository import Repository, repository_routes
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.settings import ServingSettings
from shoal_agent.serving.statistics import Statistics, statistics_routes
from shoal_contract import __version__

_MODEL: Final = "/v2/models/{name}"
_VERSION: Final = "/v2/models/{name}/versions/{version}"
EXTENSIONS: Final = ("binary_tensor_data", "model_repository", "statistics")


def create_router(
    server: ModelServer,
    observer: Observer,
    settings: ServingSettings = ServingSettings(),  # noqa: B008 - frozen
    choose: Choose | None = None,
    more_routes: Sequence[Route] = (),
    repository: Repository | None = None,
    statistics: Statistics | None = None,
    admission: Admission | None = None,
) -> Router:
    """Return the routes that answer for what `server` serves; every answer is shown to `observer`.

    Args:
        server: What is served.
        observer: Sees requests that were answered.
        settings: Bounds.
        choose: May have another version answer a request, see `shoal_agent.trials`; only what serves is described.
        more_routes: Others on the same endpoint.
        repository: Loads and unloads models on request; None: nobody may.
        statistics: Counts what becomes of requests; None: nobody but these routes shows it.
        admission: Asked before a request is worked on; None: nothing is refused.
    """
    statistics = statistics or Statistics()
    infer = InferEndpoint(server, observer, settings, statistics, choose, admission)
    metadata = _for_model(server, lambda served: json_response(describe_model(served)))
    ready = _for_model(server, lambda served: json_response({"name": served.name, "ready": True}))
    routes = [
        *(Route(f"{path}/infer", {"POST": infer.answer}) for path in (_MODEL, _VERSION)),
        *more_routes,
        Route("/v2", {"GET": _describe_server}),
        Route("/v2/health/live", {"GET": lambda _: json_response({"live": True})}),
        Route("/v2/health/ready", {"GET": _readiness(server)}),
        *statistics_routes(server, statistics),
        *repository_routes(server, repository),
    ]
    for path in (_MODEL, _VERSION):
        routes += [Route(f"{path}/ready", {"GET": ready}), Route(path, {"GET": metadata})]
    return Router(routes)


def _describe_server(_: Request) -> Response:
    return json_response({"name": "shoal-agent", "version": __version__, "extensions": EXTENSIONS})


def _readiness(server: ModelServer) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        if server.names():
            return json_response({"ready": True})
        error = "no model is served yet; roll a model out to this device"
        return json_response({"ready": False, "error": error}, UNAVAILABLE)

    return answer


def _for_model(server: ModelServer, describe: Callable[[ServedModel], Response]) -> Callable[[Request], Response]:
    """Return a handler that looks the path's model up."""

    def answer(request: Request) -> Response:
        name = request.params["name"]
        return describe(resolve(server, server.get(name), name, request.params.get("version")))

    return answer
