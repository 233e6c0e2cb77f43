"""Which models there are, and loading and unloading them where policy allows it.

Source: the model repository extension of the Open Inference Protocol v2.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, Protocol

from pydantic_core import from_json

from shoal_agent.endpoint import Request, RequestError, Response, Route, json_response
from shoal_agent.serving.models import ModelServer

Verb = Literal["load", "unload"]
_FORBIDDEN = 403
_MAX_BODY_BYTES = 64 * 1024


class Entry(NamedTuple):
    """A version in the repository."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
    reason: str = ""


class Repository(Protocol):
    """Loads and unloads models on request."""

    def index(self) -> list[Entry]:
        """Return all versions that there are, loaded or not."""

    async def load(self, name: str) -> None:
        """Have a model served; return once it is.

        Raises:
            AgentError: It is not there, or does not load.
        """

    async def unload(self, name: str) -> None:
        """Serve a model no longer; return once its memory is free.

        Raises:
            AgentError: It is not there.
        """


def repository_routes(server: ModelServer, repository: Repository | None) -> list[Route]:
    """Return the routes of the extension; without a repository, what is served is all there is, and stays."""

    def index(request: Request) -> Response:
        entries = repository.index() if repository is not None else served_entries(server)
        if _body(request).get("ready") is True:
            entries = [entry for entry in entries if entry.state == "READY"]
        return json_response([entry._asdict() for entry in entries])

    def controlling(verb: Verb) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            _body(request)
            if b"origin" in request.headers:  # a web page in this device's browser reaches loopback, too
                raise RequestError(f"{verb}ing a model: a web page asks", _FORBIDDEN, "ask by a program")
            await control(repository, verb, request.params["name"])
            return json_response({})

        return answer

    path = "/v2/repository/models/{name}"
    return [
        Route("/v2/repository/index", {"POST": index}, _MAX_BODY_BYTES),
        Route(f"{path}/load", {"POST": controlling("load")}, _MAX_BODY_BYTES),
        Route(f"{path}/unload", {"POST": controlling("unload")}, _MAX_BODY_BYTES),
    ]


async def control(repository: Repository | None, verb: Verb, name: str) -> None:
    """Load or unload a model, for whoever asks.

    Raises:
        RequestError: Nobody may (403), or see `Repository`.
        AgentError: See `Repository`.
    """
    if repository is None:
        message = f"{verb}ing model {name[:64]!r}: what this device serves is decided by its hub"
        remedy = "roll it out: shoal rollouts start; its owner may allow it: shoal-agent run --repository-control"
        raise RequestError(message, _FORBIDDEN, remedy)
    await (repository.load(name) if verb == "load" else repository.unload(name))


def served_entries(server: ModelServer) -> list[Entry]:
    """Return what is served and what can not be now, as the repository lists it."""
    served = [found for name in server.names() if (found := server.get(name)) is not None]
    absent = [Entry(name, one.version, "UNAVAILABLE", str(one.why)) for name, one in server.absent().items()]
    return [*(Entry(found.name, str(found.version), "READY") for found in served), *absent]


def _body(request: Request) -> dict[str, Any]:
    try:
        found = from_json(bytes(request.body) or b"{}")
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {str(error)[:80]}") from error
    if not isinstance(found, dict):
        raise RequestError("the body is no JSON object")
    return found
