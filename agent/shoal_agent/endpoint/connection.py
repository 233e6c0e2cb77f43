"""One HTTP/1.1 connection: each request is answered before the next one has its turn, and nobody is waited for long."""

import asyncio
import fcntl
import math
import socket
import struct
import termios
from collections import deque
from collections.abc import Awaitable
from contextlib import aclosing
from functools import partial
from logging import getLogger
from typing import Final, Protocol, cast

from shoal_agent.endpoint.bodies import BodyBudget
from shoal_agent.endpoint.limits import EndpointLimits
from shoal_agent.endpoint.message import INTERNAL, REQUEST_TIMEOUT, UNAVAILABLE, Request, RequestError, Response, refuse
from shoal_agent.endpoint.reader import Asked, Authorize, RequestReader
from shoal_agent.endpoint.routes import Router
from shoal_agent.errors import AgentError

_log = getLogger(__name__)
_ONE_WRITE_BYTES: Final = 64 * 1024
"""An answer of at most this size is copied behind its head, which takes less than a second system call."""
_FAREWELL_S: Final = 0.5
"""How long a stop waits, once all is sent, for a peer of TLS to say farewell, too: one that does not read does not."""


class Owner(Protocol):
    """Who has accepted a connection.

    Attributes:
        router: Answers.
        limits: Bounds.
        budget: Memory for bodies.
        buffer: Where all connections receive what is no body of its own.
    """

    router: Router
    limits: EndpointLimits
    budget: BodyBudget
    buffer: memoryview

    def take(self, connection: "HttpConnection") -> bool:
        """Count a connection in; return whether there is room."""

    def authorize_of(self, transport: asyncio.BaseTransport) -> Authorize:
        """Return what decides by a request's headers who may ask."""

    def drop(self, connection: "HttpConnection") -> None:
        """Count a connection out."""


class HttpConnection(asyncio.BufferedProtocol):
    """Serves one connection; everything happens in the event loop."""

    def __init__(self, listener: Owner) -> None:
        self._listener = listener
        self._limits = listener.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._reader: RequestReader
        self._waiting: deque[Asked] = deque()
        self._current: Asked | None = None
        self._task: asyncio.Task[None] | None = None
        self._awaited: object = None
        self._drained: asyncio.Event | None = None
        self._is_encrypted = False
        self._is_going_on = self._is_ending = self._is_lost = self._is_streaming = False
        self.has_asked = False
        """Whether a request ever came whose answer was more than a refusal."""
        self.deadline_s = math.inf
        """When `expire` is due, by the event loop's clock."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked and nothing answered."""
        return self._current is None and not self._waiting and not self._reader.is_within and self._drained is None

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_encrypted = transport.get_extra_info("ssl_object") is not None
        found = transport.get_extra_info("peername")
        peer = str(found[0]) if isinstance(found, tuple) else None
        listener = self._listener
        self._reader = RequestReader(
            self._limits,
            listener.router,
            listener.budget,
            listener.authorize_of(transport),
            listener.buffer,
            peer,
            self,
        )
        self.deadline_s = self._loop.time() + self._limits.idle_timeout_s
        if not listener.take(self):
            message = f"{self._limits.max_connections} connections are open, and none of them can be spared"
            error = RequestError(message, UNAVAILABLE, "try again later, over fewer connections")
            self._is_ending = True  # without waiting for what it wants to say
            self.on_refused(error)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - why is all the same
        """Forget what nobody waits for any more."""
        self._is_lost = True
        self._transport.close()  # Python 3.10 takes one of TLS for open until it is told
        self._reader.end()
        if self._task is not None:
            self._task.cancel()
        if isinstance(self._awaited, asyncio.Future):
            self._awaited.cancel()
        if self._current is not None:  # the task may never have begun
            self._done(self._current)
        if self._drained is not None:
            self._drained.set()
        self._forget_waiting()
        self._listener.drop(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as much as there is place for
        """Return where to receive."""
        return self._reader.place()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received."""
        self._reader.received(nbytes)

    def eof_received(self) -> bool:
        """Close once what has been answered is sent: who says no more has gone, as a rule, and is not worked for."""
        return False

    def pause_writing(self) -> None:
        """The client does not read."""
        self._drained = asyncio.Event()
        self.deadline_s = self._loop.time() + self._limits.write_timeout_s

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._drained is not None:
            self._drained.set()
            self._drained = None
        if self._reader.is_within:
            self.on_begun()
        else:
            self._rest()
        self._go_on()

    # --- what the reader calls

    def on_begun(self) -> None:
        """A request has begun to come."""
        if self._drained is None:  # else who does not read is to be cut off, whatever it sends
            self.deadline_s = self._loop.time() + self._limits.read_timeout_s

    def on_asked(self, asked: Asked) -> None:
        """Give a request its turn."""
        self.has_asked = self.has_asked or not asked.is_refused
        if self._drained is None:
            self.deadline_s = math.inf
        self._waiting.append(asked)
        if len(self._waiting) >= self._limits.max_pipelined:
            self._transport.pause_reading()
        self._go_on()

    @property
    def room(self) -> int:
        """How many more requests may wait."""
        return max(self._limits.max_pipelined - len(self._waiting), 0)

    def on_refused(self, error: RequestError) -> None:
        """Answer with an error as the last thing on the connection."""
        response = refuse(error)
        self._waiting.append(Asked(Request("", "", {}), lambda _: response, 0, is_last=True))
        self._go_on()

    def on_awaited(self) -> None:
        """Tell the client to send the body, unless answers to other requests are still to come before."""
        if self._current is None and not self._waiting:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- deadlines, and the end

    def expire(self) -> None:
        """Do what is due at the deadline."""
        if self._drained is not None or self._is_ending:
            self._transport.abort()
        elif self._reader.is_within and self.room:  # else it is not the client who is waited for
            self._reader.end()
            message = f"the request did not end within {self._limits.read_timeout_s:g} s"
            self.on_refused(RequestError(message, REQUEST_TIMEOUT, "send the whole request at once"))
        elif self.is_idle:
            self._close()

    def stop(self) -> None:
        """Close as soon as what is being answered has been answered."""
        self._reader.end()
        self._is_ending = True
        if self._current is None and not self._waiting:
            self._close()
            if self._is_encrypted:
                self._loop.call_later(_FAREWELL_S / 2, self._await_farewell)
        elif self._is_streaming and self._task is not None:
            self._task.cancel()

    def _await_farewell(self, *, was_sent: bool = False) -> None:
        """Cut off a peer that says nothing, once all was sent at two looks: between them, what was held back comes."""
        if self._is_lost:
            return
        is_sent = self._drained is None and _unsent_bytes(self._transport) == 0
        if is_sent and was_sent:
            self._transport.abort()
        else:
            self._loop.call_later(_FAREWELL_S / 2, partial(self._await_farewell, was_sent=is_sent))

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # --- turns

    def _go_on(self) -> None:
        """Answer what waits, one after the other, as far as it can be answered at once."""
        if self._is_going_on:
            return
        self._is_going_on = True
        while self._waiting and self._current is None and self._drained is None and not self._is_lost:
            asked = self._current = self._waiting.popleft()
            if len(self._waiting) == self._limits.max_pipelined - 1:
                self._read_on()
            outcome = self._outcome(asked)
            if not isinstance(outcome, Response):
                self._awaited = outcome
                self._task = self._loop.create_task(self._follow(asked, outcome))
            elif outcome.stream is not None:
                self._begin_stream(asked, outcome)
            else:
                self._answer(asked, outcome)
        self._is_going_on = False

    def _read_on(self) -> None:
        """Go on where there was no room: first with what has come."""
        self._reader.read_on()
        if self.room:
            self._transport.resume_reading()
        if self._reader.is_within:
            self.on_begun()

    def _outcome(self, asked: Asked) -> "Response | Awaitable[Response]":
        try:
            return asked.handler(asked.request)
        except Exception as error:  # noqa: BLE001 - answered, and a defect is logged
            return _failed(asked.request, error)

    async def _follow(self, asked: Asked, outcome: Awaitable[Response]) -> None:
        """Wait for an answer, and send it; whoever has gone away is not worked for any more."""
        try:
            response = await outcome
        except Exception as error:  # noqa: BLE001 - answered, and a defect is logged
            response = _failed(asked.request, error)
        finally:
            self._task = None
            if self._is_lost:
                self._done(asked)
        if response.stream is not None:
            self._begin_stream(asked, response)
            return
        self._answer(asked, response)
        self._go_on()

    def _begin_stream(self, asked: Asked, response: Response) -> None:
        self._is_streaming = True
        self._task = self._loop.create_task(self._stream(asked, response))
        self._task.add_done_callback(lambda _: self._end_stream(asked, response))
        if self._is_lost or self._is_ending:
            self._task.cancel()

    async def _stream(self, asked: Asked, response: Response) -> None:
        """Send pieces as they come, no faster than they are read."""
        try:
            is_head = asked.request.method == "HEAD"
            self._transport.writelines(response.pieces(is_last=True, is_head=is_head))
            if response.stream is not None and not is_head:
                async with aclosing(response.stream) as pieces:
                    async for piece in pieces:
                        self._transport.write(piece)
                        if self._drained is not None:
                            await self._drained.wait()
        except Exception:  # noqa: BLE001 - logged; the connection ends, which says that the answer is not whole
            _log.exception("streaming the answer to %s %s", asked.request.method, asked.request.path)

    def _end_stream(self, asked: Asked, response: Response) -> None:
        """Close behind the last piece, or where none was ever sent."""
        self._is_streaming, self._task = False, None
        if response.on_end is not None:
            response.on_end()
        self._done(asked)
        self._end()

    def _answer(self, asked: Asked, response: Response) -> None:
        """Send an answer that is whole."""
        if self._is_lost:
            self._done(asked)
            return
        is_last = asked.is_last or response.is_last or (self._is_ending and not self._waiting)
        pieces = response.pieces(is_last=is_last, is_head=asked.request.method == "HEAD")
        if len(pieces) > 1 and sum(memoryview(piece).nbytes for piece in pieces) > _ONE_WRITE_BYTES:
            self._transport.writelines(pieces)
        else:
            self._transport.write(b"".join(pieces))
        self._done(asked)
        if is_last:
            self._end()
        elif self._drained is None:
            self._rest()

    def _done(self, asked: Asked) -> None:
        if self._current is asked:
            self._current = None
            self._listener.budget.give_back(asked.held_bytes)

    def _forget_waiting(self) -> None:
        for asked in self._waiting:
            self._listener.budget.give_back(asked.held_bytes)
        self._waiting.clear()

    def _rest(self) -> None:
        """Set the deadline of a connection on which nothing is answered."""
        if not self._reader.is_within:
            self.deadline_s = self._loop.time() + self._limits.idle_timeout_s

    def _end(self) -> None:
        """Send nothing more; throw away for a while what still comes, or the client would not read the answer."""
        self._reader.end()
        self._forget_waiting()
        if self._is_ending or not self._transport.can_write_eof() or self._transport.is_closing():
            self._close()
            return
        self._is_ending = True
        self._transport.write_eof()
        self.deadline_s = self._loop.time() + self._limits.linger_s

    def _close(self) -> None:
        """Close once what was written is sent; who does not take it in time is cut off."""
        self._is_ending = True
        self.deadline_s = self._loop.time() + self._limits.linger_s
        if not self._transport.is_closing():  # closed twice, one of TLS can not be aborted any more
            self._transport.close()


def _unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes wait for the peer's system; 0 once nothing does.

    Encrypted, an answer goes at once to a transport below, whose buffer TLS does not show: when that is full, the
    farewell is held back here; when it is not empty, the system has bytes to send, too.
    """
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None:  # TLS lets go of a transport that was lost
        return 0
    try:
        [queued] = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):  # closed, and about to be told lost
        return 0
    return transport.get_write_buffer_size() + int(queued)


def _failed(request: Request, error: Exception) -> Response:
    """Answer with what went wrong; what nobody foresaw is logged as a defect."""
    if isinstance(error, AgentError):
        return refuse(error)
    doing = f"{request.method} {request.path[:80]}"
    _log.error("answering %s", doing, exc_info=error)
    remedy = "this is a defect of the agent; its log on the device tells more"
    return refuse(RequestError(f"{doing}: {type(error).__name__}", INTERNAL, remedy))
