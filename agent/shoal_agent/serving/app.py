"""The routes of the Open Inference Protocol v2 over REST, with its extensions."""

from collections.abc import Callable, Sequence
from typing import Final

from shoal_agent.endpoint import Request, Response, Route, Router, json_response
from shoal_agent.endpoint.message import UNAVAILABLE
from shoal_agent.serving.encode import describe_model
from shoal_agent.serving.entities import ReadEntity
from shoal_agent.serving.infer import Inference, infer_handler
from shoal_agent.serving.models import ModelServer, ServedModel
from shoal_agent.serving.passing import PassOn, asked_infer, stay_here
from shoal_agent.serving.predict import predict_routes
from shoal_agent.serving.repository import Repository, repository_routes
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.statistics import statistics_routes
from shoal_contract import __version__

_MODEL: Final = "/v2/models/{name}"
_VERSION: Final = "/v2/models/{name}/versions/{version}"
EXTENSIONS: Final = ("binary_tensor_data", "model_repository", "statistics")


def create_router(
    inference: Inference,
    more_routes: Sequence[Route] = (),
    repository: Repository | None = None,
    read_entity: ReadEntity | None = None,
    pass_on: PassOn = stay_here,
) -> Router:
    """Return the routes that answer for what is served.

    Args:
        inference: Has the models answer.
        more_routes: Others on the same endpoint.
        repository: Loads and unloads models on request; None: nobody may.
        read_entity: Gives what the device knows of an entity; None: nothing.
        pass_on: May have another device answer what asks for inference.
    """
    server, infer = inference.server, pass_on(infer_handler(inference), asked_infer)
    metadata = _for_model(server, lambda served: json_response(describe_model(served)))
    ready = _for_model(server, lambda served: json_response({"name": served.name, "ready": True}))
    routes = [
        *(Route(f"{path}/infer", {"POST": infer}) for path in (_MODEL, _VERSION)),
        *more_routes,
        *(Route(path, {"GET": _describe_server}) for path in ("/v2", "/v2/")),
        Route("/v2/health/live", {"GET": lambda _: json_response({"live": True})}),
        Route("/v2/health/ready", {"GET": _readiness(server)}),
        *predict_routes(inference, read_entity, pass_on),
        *statistics_routes(server, inference.statistics),
        *repository_routes(server, repository),
    ]
    for path in (_MODEL, _VERSION):
        routes += [Route(f"{path}/ready", {"GET": ready}), Route(path, {"GET": metadata})]
    return Router(routes)


def _describe_server(_: Request) -> Response:
    return json_response({"name": "shoal-agent", "version": __version__, "extensions": EXTENSIONS})


def _readiness(server: ModelServer) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        # The protocol's own text names the field `live`, where clients look for `ready`.
        if server.names():
            return json_response({"live": True, "ready": True})
        error = "no model is served yet; roll a model out to this device"
        return json_response({"live": True, "ready": False, "error": error}, UNAVAILABLE)

    return answer


def _for_model(server: ModelServer, describe: Callable[[ServedModel], Response]) -> Callable[[Request], Response]:
    """Return a handler that looks the path's model up."""

    def answer(request: Request) -> Response:
        name = request.params["name"]
        return describe(resolve(server, server.get(name), name, request.params.get("version")))

    return answer
