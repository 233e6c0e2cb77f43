"""One inference request from its first byte to its answer: admit, read, hand to a worker thread, answer.

Decoding, inference and encoding run together in a worker thread, so that a large body or a slow model never holds
the event loop. The hop costs 0.1 to 0.2 ms, so a model that was quick until now answers a small request in place.
"""

import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.responses import Response
from starlette.types import Receive, Scope

from shoal_agent.errors import AgentError
from shoal_agent.serving.body import read_body
from shoal_agent.serving.decode import decode_request
from shoal_agent.serving.encode import encode_answer
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.pace import Pace
from shoal_agent.serving.refusal import UNAVAILABLE, RequestError, refuse
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.settings import ServingSettings

Choose = Callable[[str, str | None, str], ModelServer]
"""From model, version of the path and the request's key to where the model is borrowed from: a trial's arm, or not."""
KEY_HEADER: Final = b"shoal-key"
MAX_KEY_CHARS: Final = 256


@dataclass(frozen=True)
class _Outcome:
    """What a worker brings back: the body, or the error to answer with."""

    body: bytes = b""
    error: AgentError | None = None


class InferEndpoint:
    """Answers `POST /v2/models/{name}[/versions/{version}]/infer`."""

    def __init__(
        self, server: ModelServer, observer: Observer, settings: ServingSettings, choose: Choose | None = None
    ) -> None:
        self._server = server
        self._choose = choose
        self._observer = observer
        self._settings = settings
        self._admitted = 0
        self._workers: CapacityLimiter | None = None
        self._working = 0
        self._pace = Pace(settings)
        self._start = secrets.token_hex(4)  # an id of an earlier start names no answer of this one
        self._answers = itertools.count(1)

    async def answer(self, scope: Scope, receive: Receive, name: str, version: str | None) -> Response:
        """Answer one request for a model, by name and optional version; every failure becomes an `{"error": ...}`."""
        limit = self._settings.workers + self._settings.max_waiting
        if self._admitted >= limit:
            msg = f"overloaded: {self._admitted} requests are being read, wait or run, at most {limit} may"
            error = RequestError(msg, UNAVAILABLE, remedy="send fewer requests at a time, or try again later")
            return refuse(error)
        self._admitted += 1
        try:
            return await self._answer(scope, receive, name, version)
        finally:
            self._admitted -= 1

    async def _answer(self, scope: Scope, receive: Receive, name: str, version: str | None) -> Response:
        server = self._server if self._choose is None else self._choose(name, version, _key_of(scope))
        try:
            resolve(server, server.get(name), name, version)
            body = await read_body(scope, receive, self._settings)
        except RequestError as error:
            self._note_error(server, name)
            return refuse(error)
        # Chosen and borrowed only now: a client that sends slowly must not hold up the swap to another version, and a
        # trial may have ended meanwhile.
        server = self._server if self._choose is None else self._choose(name, version, _key_of(scope))
        with server.borrow(name) as held:
            try:
                served = resolve(server, held, name, version)
            except RequestError as error:
                return refuse(error)
            outcome = await self._run(served, body)
        if outcome.error is not None:
            return refuse(outcome.error)
        return Response(outcome.body, media_type="application/json")

    def _note_error(self, server: ModelServer, name: str) -> None:
        served = server.get(name)
        if served is not None:
            self._observer.observe_error(served)

    async def _run(self, served: ServedModel, body: bytes) -> _Outcome:
        started = time.perf_counter()
        # An engine may be used by one thread at a time: the event loop must not wait for a worker to leave it.
        if self._working == 0 and self._pace.is_quick(served, len(body)):
            return self._work(served, body, started)
        if self._workers is None:  # needs the running loop
            self._workers = CapacityLimiter(self._settings.workers)
        self._working += 1
        try:
            return await anyio.to_thread.run_sync(self._work, served, body, started, limiter=self._workers)
        finally:
            self._working -= 1

    def _work(self, served: ServedModel, body: bytes, started: float) -> _Outcome:
        """Decode, infer and encode; the observer sees only requests that were answered."""
        begun = time.perf_counter()
        try:
            asked = decode_request(body, served.engine.inputs, served.engine.outputs)
            outputs = served.engine.infer(asked.inputs)
            answer_id = asked.id if asked.id is not None else f"{self._start}-{next(self._answers)}"
            answer = encode_answer(served, asked, outputs, answer_id)
        except AgentError as error:
            self._observer.observe_error(served)
            return _Outcome(error=error)
        ended = time.perf_counter()
        self._pace.note(served, (ended - begun) * 1000)
        self._observer.observe(served, asked.inputs, outputs, (ended - started) * 1000, answer_id)
        return _Outcome(body=answer)


def _key_of(scope: Scope) -> str:
    """Return what a trial's split sticks to: the header `Shoal-Key`, cut to its bound; empty without one."""
    for header, value in scope["headers"]:
        if header == KEY_HEADER:
            return str(value.decode("latin-1"))[:MAX_KEY_CHARS]
    return ""
