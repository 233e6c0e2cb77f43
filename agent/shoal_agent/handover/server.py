"""Answers what neighbours pass on: inference alone, for those alone whom the policy names, by their certificates."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping
from logging import getLogger
from typing import Final, NamedTuple

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus

from shoal_agent.endpoint import (
    Address,
    EndpointLimits,
    Handler,
    Listener,
    Request,
    RequestError,
    Response,
    Route,
    Router,
)
from shoal_agent.endpoint.message import NOT_FOUND
from shoal_agent.endpoint.reader import Authorize
from shoal_agent.handover.wire import LOAD_HEADER, MANIFEST_HEADER
from shoal_agent.serving import Inference
from shoal_agent.serving.infer import infer_handler
from shoal_agent.serving.passing import Call
from shoal_agent.serving.predict import predict_handler

_FORBIDDEN: Final = 403
_MAX_CONNECTIONS: Final = 128
_SHUTDOWN_S: Final = 1.0
"""Who has passed on what is not answered by then answers it."""
_RENEW_S: Final = 3600.0
_VERSION: Final = "/v2/models/{name}/versions/{version}"
CALLS: Final[Mapping[Call, Callable[[Inference], Handler]]] = {"infer": infer_handler, "predict": predict_handler}
"""What neighbours may pass on, and what answers it."""
_log = getLogger(__name__)
Identify = Callable[[bytes | None], str]
"""Returns whose certificate this is; raises an SSLCertVerificationError where it is nobody's of the hub."""


class Place(NamedTuple):
    """Where neighbours ask, and by which TLS.

    Attributes:
        host: An address of this machine.
        port: 0 takes a free one.
        context: Makes the TLS.
        read_again: Has it take up what has been renewed on disk.
    """

    host: str
    port: int
    context: Callable[[], ssl.SSLContext]
    read_again: Callable[[ssl.SSLContext], None] = lambda _: None


class HandoverServer:
    """Listens while `listen` runs.

    Args:
        inference: Answers.
        identify: Whose certificate it is that a neighbour shows.
        place: Where to listen.
        is_shared: Whether other processes of this user listen there, too.

    Attributes:
        members: Devices that may ask; looked up at each request.
        port: Where it listens, once it does.
    """

    def __init__(self, inference: Inference, identify: Identify, place: Place, *, is_shared: bool = False) -> None:
        self._identify = identify
        self._place = place
        self._is_shared = is_shared
        self._inference = inference
        self.members: Collection[str] = frozenset()
        self.port = 0
        self._listening: tuple[anyio.CancelScope, anyio.Event] | None = None

    @property
    def is_listening(self) -> bool:
        """Whether the address is open."""
        return self._listening is not None

    async def listen(self, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer neighbours until `stop`.

        Raises:
            Exception: One whose `cause_of` is an EndpointError: the address can not be opened.
            OSError: Key or certificates can not be read.
        """
        place = self._place
        handlers = {call: self._handler(made(self._inference)) for call, made in CALLS.items()}
        routes = [Route(f"{_VERSION}/{call}", {"POST": handler}) for call, handler in handlers.items()]
        router = Router(routes)
        limits = EndpointLimits(max_connections=_MAX_CONNECTIONS, shutdown_s=_SHUTDOWN_S)
        listener = Listener(router, limits, identify=self._authorize_of)
        context = place.context()
        address = Address(place.host, place.port, tls=context, is_shared=self._is_shared)
        scope, ended = anyio.CancelScope(), anyio.Event()
        self._listening = scope, ended
        try:
            with scope:
                async with anyio.create_task_group() as group:
                    self.port = await group.start(listener.serve, address)
                    group.start_soon(self._renew, context)
                    task_status.started(self.port)
        finally:
            self._listening = None
            ended.set()

    async def stop(self) -> None:
        """Close the address and every connection."""
        if self._listening is not None:
            scope, ended = self._listening
            scope.cancel()
            await ended.wait()

    async def _renew(self, context: ssl.SSLContext) -> None:
        while True:
            await anyio.sleep(_RENEW_S)
            try:
                await to_thread.run_sync(self._place.read_again, context)
            except OSError as error:
                _log.error("reading this device's certificate again: %s; the one of before stays", error)

    def _authorize_of(self, transport: asyncio.BaseTransport) -> Authorize:
        """Find out once who has connected; whether it may ask is looked up at each request."""
        shown = transport.get_extra_info("ssl_object")
        try:
            device = self._identify(shown.getpeercert(binary_form=True) if shown is not None else None)
        except (OSError, ValueError) as error:
            _log.warning("who wants to pass requests to this device was refused: %s", error)
            device = ""

        def authorize(_: dict[bytes, bytes]) -> None:
            if device not in self.members:
                message = "this device takes no requests from the one that asks"
                raise RequestError(message, _FORBIDDEN, "name it in the site's policy: shoal sites set")

        return authorize

    def _handler(self, here: Handler) -> Callable[[Request], Awaitable[Response]]:
        inference = self._inference

        async def answer(request: Request) -> Response:
            served = inference.server.get(request.params["name"])
            if served is None or request.header(MANIFEST_HEADER) != served.manifest_sha256:
                raise RequestError("this version is not served here", NOT_FOUND, "answer it where it came")
            outcome = here(request)
            response = outcome if isinstance(outcome, Response) else await outcome
            load = inference.workers.load()
            count = sum(load.running.values()) + sum(load.waiting.values())
            response.headers = [*response.headers, (LOAD_HEADER.decode(), str(count))]
            return response

        return answer
