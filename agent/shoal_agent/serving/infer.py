"""One inference request, from its body to its answer: decode, infer, encode.

All three run together in a worker thread, so that a large body or a slow model never holds the event loop. The hop
costs 0.1 to 0.2 ms, so a model that was quick until now answers a small request in place.
"""

import asyncio
import itertools
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Final

from shoal_agent.endpoint import Request, RequestError, Response, refuse
from shoal_agent.endpoint.message import TOO_LARGE
from shoal_agent.engines import Array
from shoal_agent.errors import AgentError
from shoal_agent.serving.admission import Admission, AdmitAll
from shoal_agent.serving.decode import InferRequest, decode_request
from shoal_agent.serving.encode import encode_answer
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.pace import Pace
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.settings import ServingSettings
from shoal_agent.serving.statistics import Statistics
from shoal_agent.serving.workers import TIMED_OUT, Claim, Workers

Choose = Callable[[str, str | None, str], ModelServer]
"""From model, version of the path and the request's key to where the model is borrowed from: a trial's arm, or not."""
KEY_HEADER: Final = b"shoal-key"
MAX_KEY_CHARS: Final = 256
_JSON_BYTES: Final = b"inference-header-content-length"
_MOST_DIGITS: Final = 18
_UNSUPPORTED: Final = 415


class InferEndpoint:
    """Answers `POST /v2/models/{name}[/versions/{version}]/infer`."""

    def __init__(
        self,
        server: ModelServer,
        observer: Observer,
        settings: ServingSettings,
        statistics: Statistics,
        choose: Choose | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._server = server
        self._admission = admission or AdmitAll()
        self._statistics = statistics
        self._choose = choose
        self._observer = observer
        self._settings = settings
        self._workers = Workers(settings.workers, settings.max_waiting, settings.max_stuck)
        statistics.load = self._workers.load
        self._pace = Pace(settings)
        self._start = secrets.token_hex(4)  # an id of an earlier start names no answer of this one
        self._answers = itertools.count(1)

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request for a model, by name and optional version: at once where it is quick.

        Raises:
            RequestError: It is not served or not admitted, or too many wait already.
        """
        name, version = request.params["name"], request.params.get("version")
        key = request.header(KEY_HEADER)[:MAX_KEY_CHARS]
        server = self._server if self._choose is None else self._choose(name, version, key)
        served = resolve(server, server.get(name), name, version)
        self._admission.admit(name)
        # An engine may be used by one thread at a time: the event loop must not wait for a worker to leave it.
        if not self._workers.busy and self._pace.is_quick(served, len(request.body)):
            return self._work(served, request, time.perf_counter())
        borrowed = ExitStack()
        borrowed.enter_context(server.borrow(name))
        work = partial(self._work, served, request, time.perf_counter())
        claim = Claim(name, timeout_s=self._settings.timeout_s)
        try:
            answer = self._workers.hand_in(claim, work, borrowed.close)
        except RequestError:
            self._statistics.note_refused(name, "overloaded")
            raise
        answer.add_done_callback(partial(self._note_timeout, name))
        return answer

    def _note_timeout(self, name: str, answer: "asyncio.Future[Response]") -> None:
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, RequestError) and error.status == TIMED_OUT:
            self._statistics.note_refused(name, "timeout")

    def close(self) -> None:
        """End the worker threads."""
        self._workers.close()

    def _work(self, served: ServedModel, request: Request, came_s: float) -> Response:
        """Decode, infer and encode; the observer sees only requests that were answered."""
        begun_s = time.perf_counter()
        statistics = self._statistics.of(served)
        try:
            asked = self._decode(served, request)
            decoded_s = time.perf_counter()
            outputs = served.engine.infer(asked.inputs)
            inferred_s = time.perf_counter()
            answer_id = asked.id if asked.id is not None else f"{self._start}-{next(self._answers)}"
            answer = encode_answer(served, asked, outputs, answer_id)
        except AgentError as error:
            self._observer.observe_error(served)
            statistics.note_failure(time.perf_counter() - came_s)
            return refuse(error)
        ended_s = time.perf_counter()
        self._pace.note(served, (ended_s - begun_s) * 1000)
        statistics.note_answer(_samples(asked.inputs), (came_s, begun_s, decoded_s, inferred_s, ended_s))
        self._observer.observe(served, asked.inputs, outputs, (ended_s - came_s) * 1000, answer_id)
        return answer

    def _decode(self, served: ServedModel, request: Request) -> InferRequest:
        return decode_request(
            _inflated(request, self._settings.max_inflated_bytes),
            _json_bytes(request),
            served.engine.inputs,
            served.engine.outputs,
            allow_non_finite=self._settings.allow_non_finite,
        )


def _samples(inputs: Mapping[str, Array]) -> int:
    """Return how many samples a request holds: the first size of its first tensor."""
    first = next(iter(inputs.values()))
    return int(first.shape[0]) if first.ndim else 1


def _json_bytes(request: Request) -> int | None:
    """Return how many bytes of the body are JSON; None: all."""
    found = request.header(_JSON_BYTES)
    if not found:
        return None
    if not found.isdecimal() or len(found) > _MOST_DIGITS:
        raise RequestError(f"Inference-Header-Content-Length is {found[:_MOST_DIGITS]!r}, expected a number of bytes")
    return int(found)


def _inflated(request: Request, most_bytes: int) -> bytes | bytearray | memoryview:
    """Return the body without its compression.

    Raises:
        RequestError: It is damaged, grows beyond its bound, or is compressed in another way.
    """
    coding = request.header(b"content-encoding").strip().lower()
    if coding in {"", "identity"}:
        return request.body
    if coding not in {"gzip", "deflate"}:
        remedy = "send it as it is, or with gzip or deflate"
        raise RequestError(f"the body's Content-Encoding is {coding[:20]!r}", _UNSUPPORTED, remedy)
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header
    try:
        body = inflater.decompress(request.body, most_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"the body is not {coding}: {error}") from error
    if len(body) > most_bytes:
        message = f"the body is too large: more than {most_bytes} bytes once it is inflated"
        raise RequestError(message, TOO_LARGE, "send fewer samples in one request")
    if not inflater.eof or inflater.unused_data:
        raise RequestError(f"the body is {coding} that does not end where it should")
    return body
