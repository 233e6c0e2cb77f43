"""Answers `inference.GRPCInferenceService`: the same models by the same code as over HTTP."""

from collections.abc import Awaitable, Callable
from logging import getLogger
from typing import Any, Final

import anyio
import grpc
from anyio.abc import TaskStatus

from shoal_agent.endpoint import EndpointError, RequestError
from shoal_agent.errors import AgentError
from shoal_agent.serving.app import EXTENSIONS
from shoal_agent.serving.encode import describe_model
from shoal_agent.serving.grpc.codec import decode_message, encode_message
from shoal_agent.serving.grpc.messages import MESSAGES, SERVICE
from shoal_agent.serving.infer import KEY_HEADER, MAX_KEY_CHARS, Answer, Inference, Question
from shoal_agent.serving.models import ServedModel
from shoal_agent.serving.parameters import parameters_of
from shoal_agent.serving.repository import Repository, control, served_entries
from shoal_agent.serving.resolve import resolve
from shoal_contract import __version__

_log = getLogger(__name__)
_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""What stands for the status of HTTP; anything else is INTERNAL."""
_Method = Callable[[Any, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Any]]


async def serve_grpc(
    inference: Inference,
    port: int,
    max_message_bytes: int,
    shutdown_s: float = 5.0,
    *,
    repository: Repository | None = None,
    is_shared: bool = False,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on loopback until cancelled; then let requests in flight end.

    Args:
        inference: Has the models answer.
        port: TCP port; 0 takes a free one.
        max_message_bytes: A larger request is refused.
        shutdown_s: How long a stop waits.
        repository: Loads and unloads models on request; None: nobody may.
        is_shared: Whether other processes of this user serve at the same port; the kernel spreads connections.
        task_status: Receives the bound port.

    Raises:
        EndpointError: The port cannot be bound.
    """
    options = [("grpc.max_receive_message_length", max_message_bytes), ("grpc.so_reuseport", int(is_shared))]
    # Messages are read in the event loop, before anything else is known of them.
    most = inference.settings.workers + inference.settings.max_waiting
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=most)
    methods = InferenceService(inference, repository).methods()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        message = f"opening the local gRPC endpoint: 127.0.0.1 port {port} cannot be bound"
        raise EndpointError(message, "choose a free port: --grpc-port") from error
    await server.start()
    try:
        task_status.started(bound)
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop(shutdown_s)


class InferenceService:
    """The protocol's calls."""

    def __init__(self, inference: Inference, repository: Repository | None = None) -> None:
        self._inference = inference
        self._repository = repository

    def methods(self) -> dict[str, Any]:
        """Return the handlers by the names of the calls."""
        calls: dict[str, _Method] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                _refusing(name, call),
                MESSAGES[f"{name}Request"].FromString,
                lambda message: message.SerializeToString(),
            )
            for name, call in calls.items()
        }

    async def _server_live(self, _: object, __: object) -> Any:  # noqa: ANN401 - built from a table
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _server_ready(self, _: object, __: object) -> Any:  # noqa: ANN401
        return MESSAGES["ServerReadyResponse"](ready=bool(self._inference.server.names()))

    async def _model_ready(self, request: Any, _: object) -> Any:  # noqa: ANN401
        try:
            self._served(request)
        except RequestError:
            return MESSAGES["ModelReadyResponse"](ready=False)
        return MESSAGES["ModelReadyResponse"](ready=True)

    async def _server_metadata(self, _: object, __: object) -> Any:  # noqa: ANN401
        return MESSAGES["ServerMetadataResponse"](name="shoal-agent", version=__version__, extensions=EXTENSIONS)

    async def _model_metadata(self, request: Any, _: object) -> Any:  # noqa: ANN401
        return MESSAGES["ModelMetadataResponse"](**describe_model(self._served(request)))

    async def _repository_index(self, request: Any, _: object) -> Any:  # noqa: ANN401
        found = served_entries(self._inference.server)
        entries = [entry._asdict() for entry in found if not request.ready or entry.state == "READY"]
        return MESSAGES["RepositoryIndexResponse"](models=entries)

    async def _load(self, request: Any, _: object) -> Any:  # noqa: ANN401
        await control(self._repository, "load", request.model_name)
        return MESSAGES["RepositoryModelLoadResponse"]()

    async def _unload(self, request: Any, _: object) -> Any:  # noqa: ANN401
        await control(self._repository, "unload", request.model_name)
        return MESSAGES["RepositoryModelUnloadResponse"]()

    async def _model_infer(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        def decode(served: ServedModel) -> Any:  # noqa: ANN401
            allow = self._inference.settings.allow_non_finite
            return decode_message(request, served.engine.inputs, served.engine.outputs, allow_non_finite=allow)

        def encode(asked: Any, given: Answer) -> Any:  # noqa: ANN401
            about = (given.served.name, given.served.version, given.id)
            message = encode_message(about, asked, given.outputs, given.served.engine.outputs)
            for name, said in parameters_of(given.served, given.outputs).items():
                message.parameters[name].string_param = said
            return message

        key = str(dict(context.invocation_metadata() or ()).get(KEY_HEADER.decode(), ""))[:MAX_KEY_CHARS]
        question = Question("grpc", request.ByteSize(), decode, encode, lambda error: error)
        outcome = self._inference.answer(request.model_name, request.model_version or None, key, question)
        answer = await outcome if isinstance(outcome, Awaitable) else outcome
        if isinstance(answer, AgentError):
            raise answer
        return answer

    def _served(self, request: Any) -> ServedModel:  # noqa: ANN401
        server, version = self._inference.server, getattr(request, "version", "") or None
        return resolve(server, server.get(request.name), request.name, version)


def _refusing(name: str, call: _Method) -> _Method:
    """Answer errors as the protocol does: with a status code and a text that says what to do."""

    async def answer(request: Any, context: Any) -> Any:  # noqa: ANN401
        try:
            return await call(request, context)
        except AgentError as error:
            status = error.status if isinstance(error, RequestError) else 500
            await context.abort(_CODES.get(status, grpc.StatusCode.INTERNAL), f"{error}; {error.remedy}")
        except Exception as error:  # noqa: BLE001 - answered, and logged as a defect
            _log.error("answering %s over gRPC", name, exc_info=error)
            remedy = "this is a defect of the agent; its log on the device tells more"
            await context.abort(grpc.StatusCode.INTERNAL, f"{name}: {type(error).__name__}; {remedy}")

    return answer
