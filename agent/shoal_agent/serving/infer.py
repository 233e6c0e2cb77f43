"""One inference request from its first byte to its answer: admit, read, hand to a worker thread, answer.

Decoding, inference and encoding run together in the worker (one hop costs about 0.08 ms), so that a large body
or a slow model never holds the event loop.
"""

import time
from dataclasses import dataclass

import anyio
from anyio import CapacityLimiter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shoal_agent.errors import AgentError
from shoal_agent.serving.decode import decode_request
from shoal_agent.serving.encode import encode_answer
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.refusal import (
    BAD_REQUEST,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNAVAILABLE,
    RequestError,
    refuse,
)
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.settings import ServingSettings

_BINARY_HEADER = "inference-header-content-length"


@dataclass(frozen=True)
class _Outcome:
    """What a worker brings back: the body, or the error to answer with."""

    body: bytes = b""
    error: AgentError | None = None


class InferEndpoint:
    """Answers `POST /v2/models/{name}[/versions/{version}]/infer`."""

    def __init__(self, server: ModelServer, observer: Observer, settings: ServingSettings) -> None:
        self._server = server
        self._observer = observer
        self._settings = settings
        self._admitted = 0
        self._workers: CapacityLimiter | None = None

    async def __call__(self, request: Request) -> Response:
        """Answer one request; every failure becomes an `{"error": ...}` body."""
        limit = self._settings.workers + self._settings.max_waiting
        if self._admitted >= limit:
            msg = f"overloaded: {self._admitted} requests are being read, wait or run, at most {limit} may"
            error = RequestError(msg, UNAVAILABLE, remedy="send fewer requests at a time, or try again later")
            return refuse(error)
        self._admitted += 1
        try:
            return await self._answer(request)
        finally:
            self._admitted -= 1

    async def _answer(self, request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params.get("version")
        try:
            resolve(self._server, self._server.get(name), name, version)
            body = await self._read(request)
        except RequestError as error:
            self._note_error(name)
            return refuse(error)
        # Borrowed only now: a client that sends slowly must not hold up the swap to another version.
        with self._server.borrow(name) as held:
            try:
                served = resolve(self._server, held, name, version)
            except RequestError as error:
                return refuse(error)
            outcome = await self._run(served, body)
        if outcome.error is not None:
            return refuse(outcome.error)
        return Response(outcome.body, media_type="application/json")

    def _note_error(self, name: str) -> None:
        served = self._server.get(name)
        if served is not None:
            self._observer.observe_error(served)

    async def _run(self, served: ServedModel, body: bytes) -> _Outcome:
        if self._workers is None:  # needs the running loop
            self._workers = CapacityLimiter(self._settings.workers)
        return await anyio.to_thread.run_sync(self._work, served, body, time.perf_counter(), limiter=self._workers)

    async def _read(self, request: Request) -> bytes:
        if _BINARY_HEADER in request.headers:
            msg = "the request uses the binary tensor extension, which this endpoint does not offer"
            raise RequestError(msg, remedy="send tensors as JSON arrays (tritonclient: binary_data=False)")
        limit_bytes = self._settings.max_body_bytes
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:18]) > limit_bytes:
            raise _too_large(f"{declared[:18]} bytes announced", limit_bytes)
        body = bytearray()
        try:
            with anyio.fail_after(self._settings.body_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit_bytes:
                        raise _too_large(f"more than {limit_bytes} bytes sent", limit_bytes)
        except TimeoutError as error:
            msg = f"{len(body)} bytes came in {self._settings.body_timeout_s:g} s and the request did not end"
            raise RequestError(msg, REQUEST_TIMEOUT, remedy="send the whole request at once") from error
        except ClientDisconnect as error:
            msg = f"the client closed the connection after {len(body)} bytes of its request"
            raise RequestError(msg, BAD_REQUEST) from error
        return bytes(body)

    def _work(self, served: ServedModel, body: bytes, started: float) -> _Outcome:
        """Decode, infer and encode in a worker thread; the observer sees only requests that were answered."""
        try:
            asked = decode_request(body, served.engine.inputs, served.engine.outputs)
            outputs = served.engine.infer(asked.inputs)
            answer = encode_answer(served, asked, outputs)
        except AgentError as error:
            self._observer.observe_error(served)
            return _Outcome(error=error)
        self._observer.observe(served, asked.inputs, outputs, (time.perf_counter() - started) * 1000)
        return _Outcome(body=answer)


def _too_large(found: str, limit_bytes: int) -> RequestError:
    msg = f"the body is too large: {found}, at most {limit_bytes} allowed"
    return RequestError(msg, TOO_LARGE, remedy="send fewer samples in one request")
