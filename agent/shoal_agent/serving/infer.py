"""Inference requests, from their bodies to their answers: decode, infer, encode.

All three run together in a worker thread, so that a large body or a slow model never holds the event loop. The hop
costs 0.1 to 0.2 ms, so a model that was quick until now answers a small request in place.
"""

import asyncio
import itertools
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import anyio

from shoal_agent.endpoint import Handler, Request, RequestError, Response, refuse
from shoal_agent.engines import Array, join, split
from shoal_agent.errors import AgentError
from shoal_agent.serving.admission import Admission, AdmitAll
from shoal_agent.serving.body import inflated, json_bytes
from shoal_agent.serving.cache import AnswerCache, PredictionCache
from shoal_agent.serving.decode import InferRequest, decode_request
from shoal_agent.serving.encode import encode_answer
from shoal_agent.serving.models import ModelServer, Observer, ServedModel
from shoal_agent.serving.on_demand import OnDemand
from shoal_agent.serving.pace import Pace
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.statistics import Statistics
from shoal_agent.serving.workers import TIMED_OUT, Claim, Workers
from shoal_agent.settings import ServingSettings

ObserveComposed = Callable[[ServedModel, Mapping[str, Array], str], None]
"""Takes note of an answered request to a composition: what answered, its outputs and what the answer is called."""
Choose = Callable[[str, str | None, str], ModelServer]
"""From model, version of the path and the request's key to where the model is borrowed from: a trial's arm, or not."""
KEY_HEADER: Final = b"shoal-key"
MAX_KEY_CHARS: Final = 256
TIMEOUT_HEADER: Final = b"shoal-timeout-ms"
MAX_TIMEOUT_MS: Final = 3_600_000
_MOST_DIGITS: Final = 9
_JSON_BYTES: Final = b"inference-header-content-length"


class Answer(NamedTuple):
    """What a model answered."""

    served: ServedModel
    outputs: Mapping[str, Array]
    id: str


class Question(NamedTuple):
    """A request in the form that its asker speaks.

    Attributes:
        form: What it is written in; empty: its size says little of what it takes to read it.
        body_bytes: Its size.
        decode: Reads it for what answers; raises a RequestError.
        encode: Writes the answer; raises a RequestError where that cannot be done.
        refuse: Writes an error.
        timeout_s: What is left for it; None: as the settings say.
    """

    form: str
    body_bytes: int
    decode: Callable[[ServedModel], InferRequest]
    encode: Callable[[InferRequest, Answer], Any]
    refuse: Callable[[AgentError], Any] = refuse
    timeout_s: float | None = None


class _Item(NamedTuple):
    served: ServedModel
    question: Question
    came_s: float


@dataclass
class _Part:
    """One request of a run."""

    item: _Item
    asked: InferRequest | None = None
    outputs: Mapping[str, Array] | None = None
    key: bytes = b""
    has_run: bool = False
    error: AgentError | None = None
    begun_s: float = 0.0
    decoded_s: float = 0.0
    inferred_s: float = 0.0


class Inference:
    """Has served models answer requests, whoever asks and in whatever form.

    Args:
        server: What is served.
        observer: Sees every request to a model that was answered, and hears of the others.
        settings: Bounds.
        choose: May have another version answer, see `shoal_agent.trials`; only what serves is described.
        admission: Asked before a request is worked on; None: nothing is refused.
        on_demand: Has models served that are asked and are not; None: what is not served stays so.
        cache: Keeps answers; None: memory does, as far as the settings allow it.

    Attributes:
        observe_composed: Sees every request to a composition that was answered; its members are the observer's.
    """

    def __init__(
        self,
        server: ModelServer,
        observer: Observer,
        settings: ServingSettings = ServingSettings(),  # noqa: B008 - frozen
        choose: Choose | None = None,
        admission: Admission | None = None,
        on_demand: OnDemand | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self.server = server
        self.settings = settings
        self.statistics = Statistics()
        self.observe_composed: ObserveComposed = lambda *_: None
        if cache is None and settings.cache_bytes:
            cache = PredictionCache(settings.cache_bytes, settings.cache_ttl_s)
        self.cache = cache
        self._choose = choose
        self._admission = admission or AdmitAll()
        self._on_demand = on_demand
        self._observer = observer
        self._priorities, self._most_at_once = dict(settings.priorities), dict(settings.most_at_once)
        self.workers = Workers(settings.workers, settings.max_waiting, settings.max_stuck)
        self.statistics.load = self.workers.load
        self._pace = Pace(settings)
        self._start = secrets.token_hex(4)  # an id of an earlier start names no answer of this one
        self._answers = itertools.count(1)

    def answer(self, name: str, version: str | None, key: str, question: Question) -> Any:  # noqa: ANN401 - or an awaitable
        """Answer one request for a model, by name and optional version: at once where it is quick.

        Returns:
            What the question's `encode` or `refuse` wrote, or an awaitable of it.

        Raises:
            RequestError: It is not served or not admitted, or too many wait already.
        """
        timeout_s = min(self.settings.timeout_s, question.timeout_s or math.inf)
        if self._on_demand is not None and self._on_demand.is_away(name):
            return self._answer_when_loaded(self._on_demand, name, version, key, question._replace(timeout_s=timeout_s))
        return self._answer(name, version, key, question, timeout_s)

    async def _answer_when_loaded(
        self, on_demand: OnDemand, name: str, version: str | None, key: str, question: Question
    ) -> Any:  # noqa: ANN401 - as the question has it
        """Have a model loaded first; its time is the request's."""
        began_s, timeout_s = time.perf_counter(), question.timeout_s or self.settings.timeout_s
        self._admission.admit(name)
        try:
            with anyio.fail_after(timeout_s):
                await on_demand.bring(name)
        except TimeoutError as error:
            self.statistics.note_refused(name, "timeout")
            message = f"model {name!r} did not answer within {timeout_s:g} s: it was being loaded"
            raise RequestError(message, TIMED_OUT, "try again later, or allow more time") from error
        left_s = timeout_s - (time.perf_counter() - began_s)
        answer = self._answer(name, version, key, question, max(left_s, 0.001))
        return await answer if isinstance(answer, Awaitable) else answer

    def _answer(self, name: str, version: str | None, key: str, question: Question, timeout_s: float) -> Any:  # noqa: ANN401
        server = self.server if self._choose is None else self._choose(name, version, key)
        served = resolve(server, server.get(name), name, version)
        self._admission.admit(name)
        if self._on_demand is not None:
            self._on_demand.note_use(served)
        item = _Item(served, question, time.perf_counter())
        # The event loop must not wait for a worker to leave an engine that one thread at a time may use.
        if (
            question.form
            and not served.engine.is_in_use
            and self._pace.is_quick(served, question.form, question.body_bytes)
        ):
            return self._run([item])[0]
        borrowed = ExitStack()
        borrowed.enter_context(server.borrow(name))
        # A setting that is remembered is the file's, and the same file may be declared in another way.
        best = served.engine.setup.together if served.manifest.is_batched else 1
        together = min(best, self.settings.most_together)
        claim = Claim(
            name, self._run, served, together, self._priorities.get(name, 0), self._most_at_once.get(name, 0), timeout_s
        )
        try:
            answer = self.workers.hand_in(claim, item, borrowed.close)
        except RequestError:
            self.statistics.note_refused(name, "overloaded")
            raise
        answer.add_done_callback(partial(self._note_timeout, name))
        return answer

    def answer_here(self, served: ServedModel, question: Question) -> Any:  # noqa: ANN401 - as the question has it
        """Answer a request at once, in the caller's thread, whatever it takes."""
        return self._run([_Item(served, question, time.perf_counter())])[0]

    def chosen(self, name: str, version: str | None, key: str) -> ServedModel | None:
        """Return what would answer a request; None where nothing is served, or another version than is asked for."""
        server = self.server if self._choose is None else self._choose(name, version, key)
        served = server.get(name)
        return served if served is not None and version in {None, str(served.version)} else None

    def expected_wait_s(self) -> float:
        """Return how long a request that came now would wait for its turn, by how long runs have taken of late."""
        load, count = self.workers.load(), self.settings.workers
        if sum(load.running.values()) < count:
            return 0.0
        waiting_ms = sum(jobs * self._mean_ms(name) for name, jobs in load.waiting.items())
        running_ms = sum(jobs * self._mean_ms(name) / 2 for name, jobs in load.running.items())  # half done, on average
        return (waiting_ms + running_ms) / count / 1000

    def _mean_ms(self, name: str) -> float:
        served = self.server.get(name)
        return self._pace.mean_ms(served) if served is not None else 0.0

    def _note_timeout(self, name: str, answer: "asyncio.Future[Any]") -> None:
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, RequestError) and error.status == TIMED_OUT:
            self.statistics.note_refused(name, "timeout")

    def close(self) -> None:
        """End the worker threads."""
        self.workers.close()

    def _run(self, items: Sequence[_Item]) -> list[Any]:
        """Decode, infer and encode requests to one model."""
        parts = [self._decode(item) for item in items]
        waiting = [part for part in parts if part.asked is not None and part.outputs is None]
        if len(waiting) > 1:
            self._infer_together(waiting)
        for part in waiting:
            if part.outputs is None:
                self._infer(part)
        return [self._finish(part) for part in parts]

    def _decode(self, item: _Item) -> _Part:
        part = _Part(item, begun_s=time.perf_counter())
        try:
            part.asked = item.question.decode(item.served)
        except AgentError as error:
            part.error = error
        part.decoded_s = part.inferred_s = time.perf_counter()
        if self.cache is not None and part.asked is not None:
            part.key = self.cache.key(item.served, part.asked.inputs)
            part.outputs = self.cache.get(part.key, item.served)
            counted = self.statistics.of(item.served)
            looked_s = time.perf_counter() - part.decoded_s
            (counted.cache_miss if part.outputs is None else counted.cache_hit).add(looked_s)
        return part

    def _infer(self, part: _Part) -> None:
        asked = part.asked
        if asked is None:
            return
        part.has_run = True
        try:
            part.outputs = part.item.served.engine.infer(asked.inputs)
        except AgentError as error:
            part.error = error
        part.inferred_s = time.perf_counter()
        if self.cache is not None and part.outputs is not None:
            self.cache.put(part.key, part.outputs)

    def _infer_together(self, parts: list[_Part]) -> None:
        """Run the model once for requests of the same shape; where that fails, each is left to run by itself."""
        inputs = [part.asked.inputs for part in parts if part.asked is not None]
        shapes = {tuple((name, array.shape[1:]) for name, array in sorted(one.items())) for one in inputs}
        if len(shapes) > 1 or any(len({array.shape[:1] for array in one.values()}) > 1 for one in inputs):
            return  # one whose inputs differ in their samples would shift the others'
        samples = [_samples(one) for one in inputs]
        try:
            outputs = split(parts[0].item.served.engine.infer(join(inputs)), samples)
        except AgentError:  # whose request it is shows when each runs by itself
            return
        ended_s = time.perf_counter()
        for part, own in zip(parts, outputs or (), strict=False):
            part.outputs, part.inferred_s, part.has_run = own, ended_s, True
            if self.cache is not None:
                self.cache.put(part.key, {name: array.copy() for name, array in own.items()})

    def _finish(self, part: _Part) -> Any:  # noqa: ANN401 - as the question has it
        """Encode, and tell who counts; the observer sees only requests that were answered."""
        served, question, came_s = part.item
        statistics = self.statistics.of(served)
        if part.asked is None or part.outputs is None:
            return self._refused(part, part.error)
        answer_id = part.asked.id if part.asked.id is not None else f"{self._start}-{next(self._answers)}"
        try:
            answer = question.encode(part.asked, Answer(served, part.outputs, answer_id))
        except AgentError as error:
            return self._refused(part, error)
        ended_s = time.perf_counter()
        if part.has_run:
            self._pace.note(served, question.form, question.body_bytes, (ended_s - part.begun_s) * 1000)
        at_s = (came_s, part.begun_s, part.decoded_s, part.inferred_s, ended_s)
        samples = _samples(part.asked.inputs) if served.manifest.is_batched else 1
        statistics.note_answer(samples, at_s)
        if served.members:
            self.observe_composed(served, part.outputs, answer_id)
        else:
            self._observer.observe(served, part.asked.inputs, part.outputs, (ended_s - came_s) * 1000, answer_id)
        return answer

    def _refused(self, part: _Part, error: AgentError | None) -> Any:  # noqa: ANN401 - as the question has it
        if not part.item.served.members:
            misfit = error.misfit if isinstance(error, RequestError) else None
            self._observer.observe_error(part.item.served, misfit)
        self.statistics.of(part.item.served).note_failure(time.perf_counter() - part.item.came_s)
        return part.item.question.refuse(error or AgentError("the request was not run"))


def infer_handler(inference: Inference) -> Handler:
    """Return what answers `POST /v2/models/{name}[/versions/{version}]/infer`."""
    settings = inference.settings

    def answer(request: Request) -> Response | Awaitable[Response]:
        def decode(served: ServedModel) -> InferRequest:
            return decode_request(
                inflated(request, settings.max_inflated_bytes),
                json_bytes(request),
                served.engine.inputs,
                served.engine.outputs,
                allow_non_finite=settings.allow_non_finite,
            )

        def encode(asked: InferRequest, given: Answer) -> Response:
            return encode_answer(given.served, asked, given.outputs, given.id)

        params = request.params
        key = request.header(KEY_HEADER)[:MAX_KEY_CHARS]
        form = "binary" if _JSON_BYTES in request.headers else "json"
        form = "" if b"content-encoding" in request.headers else form
        question = Question(form, len(request.body), decode, encode, timeout_s=timeout_of(request))
        outcome: Response | Awaitable[Response] = inference.answer(params["name"], params.get("version"), key, question)
        return outcome

    return answer


def timeout_of(request: Request) -> float | None:
    """Return what a request leaves for its answer, in seconds; None where it does not say.

    Raises:
        RequestError: It is no number of milliseconds.
    """
    found = request.header(TIMEOUT_HEADER)
    if not found:
        return None
    if not found.isdecimal() or len(found) > _MOST_DIGITS or not 0 < int(found) <= MAX_TIMEOUT_MS:
        raise RequestError(f"Shoal-Timeout-Ms is {found[:20]!r}, expected 1 to {MAX_TIMEOUT_MS} milliseconds")
    return int(found) / 1000


def _samples(inputs: Mapping[str, Array]) -> int:
    """Return how many samples a request holds: the first size of its first tensor."""
    first = next(iter(inputs.values()))
    return int(first.shape[0]) if first.ndim else 1
