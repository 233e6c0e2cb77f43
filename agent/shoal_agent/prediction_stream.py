"""`GET /predictions/stream`: what models answer, whoever asked them, as server-sent events while it happens.

What was asked is not shown. Nobody waits for a reader: one that is too slow loses the oldest events, and is told how
many. Source: the event stream format of the WHATWG HTML standard.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from typing import Any, Final

import anyio
import numpy as np
from pydantic_core import to_json

from shoal_agent.backlog import Backlog
from shoal_agent.endpoint import Request, RequestError, Response, Route
from shoal_agent.endpoint.message import UNAVAILABLE
from shoal_agent.engines import Array
from shoal_agent.errors import AgentError
from shoal_agent.processing import Prepared
from shoal_agent.serving import ModelServer, Observer, ServedModel
from shoal_agent.serving.declared import predictions
from shoal_agent.serving.friendly import predictions_of
from shoal_agent.serving.resolve import resolve
from shoal_agent.settings import StreamSettings
from shoal_contract.telemetry import Misfit

PATH: Final = "/predictions/stream"
_EVENTS_AT_ONCE: Final = 64
_ID_CHARS: Final = 128
_HEARTBEAT: Final = b":\n\n"


class Reader:
    """One stream, from its request on until it is closed.

    Args:
        model: Whose predictions it wants; empty: all.
        settings: Bounds.
    """

    def __init__(self, model: str, settings: StreamSettings) -> None:
        self.model = model
        self.waiting: Backlog[bytes] = Backlog(settings.max_waiting)
        self._heartbeat_s = settings.heartbeat_s

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield events as they come, and a comment where none comes for a while."""
        told = 0
        yield _HEARTBEAT  # so that a reader sees at once that it was let in
        while True:
            events: list[bytes] = []
            with anyio.move_on_after(self._heartbeat_s):
                events = await self.waiting.take(_EVENTS_AT_ONCE)
            dropped = self.waiting.dropped - told
            if dropped:
                told += dropped
                events.insert(0, event("dropped", {"dropped": dropped}))
            yield b"".join(events) or _HEARTBEAT


class PredictionStream:
    """An observer that shows everything to another one, and what was answered to those who read streams.

    Args:
        watched: Is shown everything as it comes.
        settings: Bounds.
        now: Trusted time.
    """

    def __init__(self, watched: Observer, settings: StreamSettings, now: Callable[[], datetime]) -> None:
        self._watched = watched
        self._settings = settings
        self._now = now
        self._readers: tuple[Reader, ...] = ()
        """Replaced as a whole: worker threads go through it."""

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    def observe(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        latency_ms: float,
        answer_id: str,
    ) -> None:
        """Show one answered request to who watches, and its predictions to the readers."""
        self._watched.observe(served, inputs, outputs, latency_ms, answer_id)
        if not self._readers:
            return
        readers = [one for one in self._readers if one.model in {"", served.name}]
        events = self._events(served, inputs, outputs, answer_id) if readers else []
        for reader in readers:
            reader.waiting.put(events)

    def observe_error(self, served: ServedModel, misfit: Misfit | None = None) -> None:
        """Show who watches a request that got an error; readers see answers alone."""
        self._watched.observe_error(served, misfit)

    def open(self, model: str) -> Reader:
        """Begin a stream; `close` ends it.

        Raises:
            RequestError: As many are open as there may be.
        """
        if len(self._readers) >= self._settings.max_streams:
            message = (
                f"{len(self._readers)} streams of predictions are open, at most {self._settings.max_streams} may be"
            )
            raise RequestError(message, UNAVAILABLE, "close one of them, or try again later")
        reader = Reader(model, self._settings)
        self._readers = (*self._readers, reader)
        return reader

    def close(self, reader: Reader) -> None:
        """End a stream."""
        self._readers = tuple(one for one in self._readers if one is not reader)

    def _events(
        self, served: ServedModel, inputs: Mapping[str, Array], outputs: Mapping[str, Array], answer_id: str
    ) -> list[bytes]:
        """Return an event a sample."""
        at = self._now().isoformat()
        said = _meanings(served, inputs, outputs, self._settings.max_values)
        about = {"model_name": served.name, "version": str(served.version), "id": answer_id[:_ID_CHARS]}
        place = {} if len(said) == 1 else {"sample": 0}
        events = []
        for number, one in enumerate(said):
            what = {"prediction": one["prediction"], "confidence": one["confidence"], "time": at}
            made = event("prediction", about | dict.fromkeys(place, number) | what)
            if len(made) > self._settings.max_event_bytes:
                made = event("prediction", about | what | {"prediction": None})
            events.append(made)
        return events


def stream_routes(stream: PredictionStream, server: ModelServer) -> list[Route]:
    """Return the route of streams. Whoever may ask an endpoint for inference may read one: on the network, by a key."""

    def answer(request: Request) -> Response:
        model = request.query("model_name")
        if model and resolve(server, server.get(model), model, None).members:
            message = f"{model!r} is made of other models; what these predict is streamed, under their names"
            raise RequestError(message, remedy="leave model_name out, or name one of its members")
        reader = stream.open(model)
        headers = [("cache-control", "no-store")]
        return Response(
            content_type="text/event-stream",
            headers=headers,
            stream=reader.pieces(),
            on_end=lambda: stream.close(reader),
        )

    return [Route(PATH, {"GET": answer})]


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """Return a server-sent event; JSON has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json(data, inf_nan_mode="null"))


def _meanings(
    served: ServedModel, inputs: Mapping[str, Array], outputs: Mapping[str, Array], max_values: int
) -> list[dict[str, Any]]:
    """Return prediction and confidence of each sample, as the friendly call has them; None where that says too little.

    Boxes lie in an image that is not known any more, and outputs of many values are more than an event may hold.
    """
    first = outputs[served.manifest.outputs[0].name]
    samples = len(first) if first.ndim else 1
    unknown = [{"prediction": None, "confidence": None}] * samples
    processing = served.manifest.processing
    declared = processing.outputs.values() if processing is not None else ()
    is_scored = any(one.kind == "classes" for one in declared) or len(served.manifest.baseline.predictions) > 1
    is_large = not is_scored and sum(array.size for array in outputs.values()) > max_values * samples
    if is_large or any(one.kind == "boxes" for one in declared):
        return unknown
    try:
        if processing is None:
            return predictions_of(served, outputs)
        return predictions(outputs, Prepared(dict(inputs), np.arange(samples), {}, []), served.manifest)
    except AgentError:  # NaN, for example: the asker was told
        return unknown
