"""From the bytes of a connection to whole requests within their bounds.

Source: RFC 9112. A body that does not come with its head is received into its own place, past the parser.
"""

from collections.abc import Callable
from logging import getLogger
from typing import Any, Final, NamedTuple, Protocol

import httptools

from shoal_agent.endpoint.bodies import BodyBudget, allocate
from shoal_agent.endpoint.limits import EndpointLimits
from shoal_agent.endpoint.message import (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    INTERNAL,
    TOO_LARGE,
    Request,
    RequestError,
    refuse,
)
from shoal_agent.endpoint.routes import Found, Handler, Router
from shoal_agent.errors import AgentError

Authorize = Callable[[dict[bytes, bytes]], None]
"""Given a request's headers; raises a RequestError where who asks may not."""
_log = getLogger(__name__)
_TENSORS_AT: Final = b"inference-header-content-length"
_SMALL_BYTES: Final = 64 * 1024
"""A refused body of at most this size is read to its end, so that the connection stays."""
_MOST_DIGITS: Final = 9
_LEAST_BYTES: Final = 9
"""Of a request: `GET /` of HTTP/0.9, which the parser takes, and the end of its head."""
_HEAD_END: Final = b"\r\n\r\n"
_NOTHING: Final = memoryview(b"")
_NOBODY: Final = Found(lambda _: refuse(RequestError("nobody answers")), {}, 0)


class Asked(NamedTuple):
    """A whole request, and what answers it.

    Attributes:
        request: What was asked.
        handler: Who answers, a refusal as well.
        held_bytes: What it holds of the budget for bodies, until it has been answered.
        is_last: Whether the connection ends with the answer.
        is_refused: Whether it is refused whatever it asks: who asks may not, or there is no such thing.
    """

    request: Request
    handler: Handler
    held_bytes: int
    is_last: bool
    is_refused: bool = False


class Sink(Protocol):
    """Who takes what was read."""

    @property
    def room(self) -> int:
        """How many more requests it takes now."""

    def on_begun(self) -> None:
        """Note that a request has begun to come."""

    def on_asked(self, asked: Asked) -> None:
        """Take a whole request."""

    def on_refused(self, error: RequestError) -> None:
        """Answer with an error as the last thing on the connection; nothing more is read."""

    def on_awaited(self) -> None:
        """Tell the client, who waits for it, to send the body."""


class RequestReader:
    """Reads the requests of one connection.

    Args:
        limits: Bounds.
        router: Finds the handlers.
        budget: Memory for bodies.
        authorize: Decides by the headers who may ask.
        shared: Where all connections of the event loop receive what is no body of its own.
        peer: The address that asks.
        sink: Takes what was read.
    """

    def __init__(
        self,
        limits: EndpointLimits,
        router: Router,
        budget: BodyBudget,
        authorize: Authorize,
        shared: memoryview,
        peer: str | None,
        sink: Sink,
    ) -> None:
        self._limits = limits
        self._router = router
        self._budget = budget
        self._authorize = authorize
        self._shared = shared
        self._peer = peer
        self._sink = sink
        self._parser = httptools.HttpRequestParser(self)
        self._rest = _NOTHING
        self._is_reading_on = False
        self._is_direct = False
        self._has_just_begun = False
        self._has_ended = False
        self._has_head = False
        self._length = self._came_bytes = self._held_bytes = 0
        self._body: Any = b""
        self.is_within = False
        """Whether a request has begun and not ended."""
        self._reset()

    def place(self) -> memoryview:
        """Return where to receive: a body's own place once its head is read."""
        place: memoryview = self._body[self._filled :] if self._is_direct else self._shared
        return place

    def received(self, size_bytes: int) -> None:
        """Take what was received in `place`."""
        if self._has_ended:
            return
        if self._is_direct:
            self._filled += size_bytes
            if self._filled == self._length:
                self._is_direct = False
                self._parser = httptools.HttpRequestParser(self)
                self.on_message_complete()
            return
        if self._rest or not self._fits(size_bytes):
            self._rest = memoryview(bytes(self._rest) + bytes(self._shared[:size_bytes]))
            self.read_on()
        else:
            self._take(self._shared[:size_bytes])

    def _fits(self, size_bytes: int) -> bool:
        """Whether the sink has room for all requests that may end in what was received."""
        room = self._sink.room
        if size_bytes < room * _LEAST_BYTES:
            return True
        received: Any = self._shared.obj
        return bool(received.count(_HEAD_END, 0, size_bytes) + self.is_within <= room)

    def read_on(self) -> None:
        """Go on with what has come and was not read, as the sink had no room for so many requests.

        No more is parsed at a time than can hold as many requests as there is room for.
        """
        if self._is_reading_on:  # the sink takes requests out while others come
            return
        self._is_reading_on = True
        while self._rest and not self._has_ended and (room := self._sink.room):
            is_body = self.is_within and self._has_head and self._refusal is None
            most_bytes = max(room * _LEAST_BYTES, self._length - self._filled if is_body else 0)
            piece, self._rest = self._rest[:most_bytes], self._rest[most_bytes:]
            self._take(piece)
        self._is_reading_on = False

    def _take(self, data: memoryview) -> None:
        self._has_just_begun, before_bytes = False, self._filled
        if self._awaits_body:
            self._go_on_with(data)
        else:
            self._parse(data)
        if self.is_within and not self._has_just_begun:  # else what came was others' as well
            self._count_head(len(data), self._filled > before_bytes)
        self._is_direct = self._awaits_body and not self._rest

    @property
    def _awaits_body(self) -> bool:
        """Whether there is a place for the rest of a body, which the parser need not see."""
        return self.is_within and len(self._body) > 0 and self._filled < self._length

    def _count_head(self, size_bytes: int, has_body: bool) -> None:
        """Count what came and is no body: a head, or the trailers behind chunks, neither of them without end."""
        is_body = self._has_head and (has_body or self._length >= 0)
        self._came_bytes = 0 if is_body else self._came_bytes + size_bytes
        if self._came_bytes > self._limits.max_head_bytes:
            self._refuse_head(f"more than {self._limits.max_head_bytes} bytes")

    def end(self) -> None:
        """Read nothing more, and hold nothing."""
        self._has_ended = True
        self.is_within = False
        self._is_direct = False
        self._body, self._rest = b"", _NOTHING
        self._budget.give_back(self._held_bytes)
        self._held_bytes = 0

    def _parse(self, data: memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            taken = int(upgrade.args[0])
        except httptools.HttpParserError as error:
            if not self._has_ended:
                message = f"what came is not HTTP/1.1: {str(error.__context__ or error)[:100]}"
                self._refuse(RequestError(message, BAD_REQUEST, "speak HTTP/1.1, without TLS where none is offered"))
            return
        else:
            return
        # No other protocol is spoken here: it goes on as if none had been asked for.
        self._go_on_with(data[taken:])

    def _go_on_with(self, rest: memoryview) -> None:
        """Read on without the parser as it was: the rest of a body, and then what follows with a new one."""
        self._parser = httptools.HttpRequestParser(self)
        if self.is_within and self._length > 0:
            missing_bytes = self._length - self._filled
            self.on_body(bytes(rest[:missing_bytes]))
            rest = rest[missing_bytes:]
            if self._filled < self._length:
                return
            self.on_message_complete()
        if len(rest) and not self._has_ended:
            self._parse(rest)

    def _refuse(self, error: RequestError) -> None:
        self.end()
        self._sink.on_refused(error)

    def _refuse_head(self, found: str) -> None:
        allowed = f"{self._limits.max_head_bytes} bytes and {self._limits.max_headers} lines"
        message = f"the head is too large: {found}, at most {allowed} allowed"
        self._refuse(RequestError(message, HEAD_TOO_LARGE, "send fewer and shorter headers"))

    # --- what the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._reset()
        self.is_within = self._has_just_begun = True
        if not self._has_ended:
            self._sink.on_begun()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._came_bytes = self._head_bytes = self._lines = 0
        self._has_head = False
        self._found = _NOBODY
        self._refusal: RequestError | None = None
        self._length = 0
        self._most_bytes = 0
        self._filled = 0
        self._held_bytes = 0
        self._body = b""
        self._method = ""
        self._is_last = False

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header line; a trailer says nothing here."""
        if self._has_head:
            return
        self._lines += 1
        self._head_bytes += len(name) + len(value)
        name = name.lower()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        """Decide whether the request may go on."""
        self._has_head = True
        if self._has_ended:
            return
        self._method = self._parser.get_method().decode("latin-1")
        self._is_last = not self._parser.should_keep_alive()
        if self._lines > self._limits.max_headers or self._head_bytes > self._limits.max_head_bytes:
            self._refuse_head(f"{self._lines} lines of {self._head_bytes} bytes")
            return
        if self._parser.should_upgrade() and b"transfer-encoding" in self._headers:
            remedy = "leave the header Upgrade out, or send the body's length"
            self._refuse(RequestError("the request asks for another protocol, with a body in chunks", remedy=remedy))
            return
        is_awaited = self._headers.get(b"expect", b"").lower() == b"100-continue"
        try:
            self._open()
        except AgentError as error:
            self._refusal = error if isinstance(error, RequestError) else _broken(error)
            is_skipped = 0 <= self._length <= _SMALL_BYTES and not is_awaited and not self._parser.should_upgrade()
            if self._length and not is_skipped:
                self._refuse(self._refusal)
        else:
            if is_awaited and self._length:
                self._sink.on_awaited()

    def _open(self) -> None:
        """Find who answers, and see that the body fits.

        Raises:
            RequestError: It does not, nobody answers, or who asks may not.
        """
        announced = self._headers.get(b"content-length")
        self._length = int(announced) if announced else -1 if b"transfer-encoding" in self._headers else 0
        self._authorize(self._headers)
        path = self._url.partition(b"?")[0].decode("latin-1")
        self._found = self._router.find(self._method, path)
        self._most_bytes = self._found.max_body_bytes or self._limits.max_body_bytes
        if self._length > self._most_bytes:
            raise self._too_large(f"{self._length} bytes announced")
        self._hold(max(self._length, 0))

    def _too_large(self, found: str) -> RequestError:
        doing = f"{self._method} {self._url[:80].decode('latin-1')}"
        message = f"{doing}: the body is too large: {found}, at most {self._most_bytes} allowed"
        return RequestError(message, TOO_LARGE, "send less in one request")

    def _hold(self, size_bytes: int) -> None:
        self._budget.take(size_bytes)
        self._held_bytes += size_bytes

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self._has_ended or self._refusal is not None:
            return
        if self._length < 0:
            self._take_chunk(piece)
        elif len(piece) == self._length:
            self._body, self._filled = piece, self._length
        else:
            if not self._filled:
                tensors_at = self._headers.get(_TENSORS_AT, b"")[:_MOST_DIGITS]
                self._body = allocate(self._length, int(tensors_at) if tensors_at.isdigit() else 0)
            end = self._filled + len(piece)
            self._body[self._filled : end] = piece
            self._filled = end

    def _take_chunk(self, piece: bytes) -> None:
        try:
            if self._filled + len(piece) > self._most_bytes:
                raise self._too_large(f"more than {self._most_bytes} bytes sent")
            self._hold(len(piece))
        except RequestError as error:
            self._refuse(error)
            return
        self._body = self._body or bytearray()
        self._body += piece
        self._filled += len(piece)

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if self._has_ended or (self._filled == 0 < self._length and self._refusal is None):
            return  # the latter with a head that asked for another protocol: its body is still to come
        self.is_within = False
        path, _, query = self._url.decode("latin-1").partition("?")
        params = self._found.params
        request = Request(
            self._method, path, self._headers, self._body, query_string=query, params=params, peer=self._peer
        )
        handler = _refuser(self._refusal) if self._refusal is not None else self._found.handler
        asked = Asked(request, handler, self._held_bytes, self._is_last, self._refusal is not None)
        self._held_bytes, self._body = 0, b""
        self._sink.on_asked(asked)


def _broken(error: AgentError) -> RequestError:
    """Return what a client is told where the device itself is at fault; the rest is for its log."""
    _log.error("deciding about a request: %s; %s", error, error.remedy)
    return RequestError("the device cannot decide about requests", INTERNAL, "look into the agent's log on the device")


def _refuser(error: RequestError) -> Handler:
    """Return what refuses a request when its turn comes."""
    return lambda _: refuse(error)
